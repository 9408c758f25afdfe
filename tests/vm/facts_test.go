package vm

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/merlon/merlon/internal/event"
)

func TestParseCheck(t *testing.T) {
	got, err := parseCheck(strings.Split(`{
 "environment": {"release": "6.1"},
 "features": [
  {"name": "see exec", "group": "processes", "tier": "raw", "guarantee": "observe", "essential": true},
  {"name": "end connections", "group": "network", "tier": "", "guarantee": "absent", "essential": false, "why": "no kfunc"}
 ]
}`, "\n"))
	want := []Fact{
		{Type: FactFeature, Name: "see exec", Group: "processes", Tier: "raw", Guarantee: event.Observe},
		{Type: FactFeature, Name: "end connections", Group: "network", Guarantee: event.Absent, Why: "no kfunc"},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"", "{}", `{"features":[]}`, "open kernel: EPERM"} {
		if got, err := parseCheck([]string{bad}); err == nil {
			t.Errorf("%q reads as %v", bad, got)
		}
	}
}

func TestSaveFactsMerges(t *testing.T) {
	t.Setenv("MERLON_CACHE", t.TempDir())
	k := Kernels()[0]
	save := func(release, pkg string, facts ...Fact) {
		t.Helper()
		r := &Results{Release: release, Packages: []*Package{{Name: pkg}}}
		r.addFacts(pkg, facts...)
		if err := SaveFacts(k, r); err != nil {
			t.Fatal(err)
		}
	}
	load := func() []Fact {
		t.Helper()
		all, err := LoadFacts()
		if err != nil {
			t.Fatal(err)
		}
		if len(all) != len(Kernels()) || all[1].Release != "" {
			t.Fatalf("loaded %+v, want one for each kernel and the first only known", all)
		}
		return all[0].All()
	}
	exec := Fact{Type: FactInsns, Program: "exec", Count: 1}
	exec2 := Fact{Type: FactInsns, Program: "exec", Count: 2}
	fork := Fact{Type: FactInsns, Program: "fork", Count: 3}

	save("6.1", "a", exec)
	save("6.1", "b", fork)
	if diff := cmp.Diff([]Fact{exec, fork}, load()); diff != "" {
		t.Errorf("after another package (-want +got):\n%s", diff)
	}
	save("6.1", "b", exec2)
	if diff := cmp.Diff([]Fact{exec2}, load()); diff != "" {
		t.Errorf("after the same package (-want +got):\n%s", diff)
	}
	save("6.2", "b", fork)
	if diff := cmp.Diff([]Fact{fork}, load()); diff != "" {
		t.Errorf("after another kernel (-want +got):\n%s", diff)
	}
}

func FuzzParseFact(f *testing.F) {
	f.Add(`    x_test.go:1: MERLON-FACT {"type":"insns","program":"exec","count":1}`)
	f.Add(`MERLON-FACT {"type":"feature","name":"see exec"}`)
	f.Fuzz(func(t *testing.T, line string) {
		fact, err := parseFact(line)
		if err == nil && (fact.Name == "" && fact.Program == "" || !strings.Contains(line, FactMark)) {
			t.Errorf("%q reads as %+v", line, fact)
		}
	})
}
