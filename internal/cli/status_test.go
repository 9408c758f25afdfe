package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/merlon/merlon/internal/api"
)

func TestProgramsWithoutAHookComeLast(t *testing.T) {
	st := &api.Status{Programs: []api.Program{
		{Name: "b_idle", Hook: "cgroup/bind4", Verified: 7}, {Name: "c_on", Hook: "tp_btf/x", Attached: true, Verified: 9},
		{Name: "a_idle", Hook: "raw_tp/y", Verified: 8}, {Name: "a_on\x1b", Hook: "raw_tp/z\n", Attached: true},
	}}
	want := [][]string{{"PROGRAM", "HOOK", "VERIFIED"}, {"c_on", "tp_btf/x", "9"}, {`a_on\x1b`, `raw_tp/z\n`, "0"}, {"b_idle", "-", "7"}, {"a_idle", "-", "8"}}
	if d := cmp.Diff(want, programRows(st)); d != "" {
		t.Error(d)
	}
	if st.Programs[0].Name != "b_idle" {
		t.Error("the status itself was sorted")
	}
}
