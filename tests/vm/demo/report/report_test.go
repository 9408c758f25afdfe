package report

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/merlon/merlon/internal/event"
)

func TestRoundTrip(t *testing.T) {
	want := Record{
		Stage: Attack, Rule: "exec-memfd", Title: "memory",
		Alerts: []event.Alert{{ID: "1", Rule: event.Rule{ID: "server-shell"}}, {ID: "2", Rule: event.Rule{ID: "exec-memfd"},
			Process: &event.Process{PID: 7, Exe: "/memfd:\x1b[2J\xff"}}},
	}
	var b bytes.Buffer
	if err := Write(&b, want); err != nil {
		t.Fatal(err)
	}
	got, ok := Parse(string(bytes.TrimSuffix(b.Bytes(), []byte("\n"))))
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(event.Process{})); !ok || diff != "" {
		t.Errorf("ok %v (-want +got):\n%s", ok, diff)
	}
	if a := got.Seen(); a == nil || a.ID != "2" {
		t.Errorf("Seen = %+v, want alert 2", a)
	}
	got.Rule = "root-gained"
	if got.OK() {
		t.Error("an attack without its alert is OK")
	}
	if a := got.Seen(); a != nil {
		t.Errorf("Seen = %+v, want none", a)
	}
}

func TestOKWithoutRule(t *testing.T) {
	for _, c := range []struct {
		r    Record
		want bool
	}{
		{Record{}, true},
		{Record{Problem: "no agent"}, false},
		{Record{Alerts: []event.Alert{{ID: "1"}}}, false},
	} {
		if got := c.r.OK(); got != c.want {
			t.Errorf("OK of %+v = %v, want %v", c.r, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Mark + `{"stage":"attack","alerts":[{"process":{"pid":1,"parent":{"pid":0}}}]}`)
	f.Add("MERLON-DEMO {")
	f.Fuzz(func(t *testing.T, line string) {
		r, ok := Parse(line)
		if !ok {
			return
		}
		var b bytes.Buffer
		if err := Write(&b, r); err != nil {
			t.Fatalf("a record that was read can't be written: %v", err)
		}
		if again, ok := Parse(string(bytes.TrimSuffix(b.Bytes(), []byte("\n")))); !ok || again.Stage != r.Stage {
			t.Errorf("%q became %q", r.Stage, again.Stage)
		}
	})
}
