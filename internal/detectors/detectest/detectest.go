// Package detectest is what the tests of detectors share: a table of events
// with the findings they must give, what every finding must hold, and the cost
// of a miss.
package detectest

import (
	"slices"
	"strings"
	"testing"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
)

// Case is an event and the findings it must give: "rule severity" of each, in
// order, separated by commas; "" for none. It is an alias, so that tables may
// leave out the names of its fields.
type Case = struct {
	Name  string
	Event *event.Event
	Want  string
}

// Table gives each case to a detector of its own.
func Table[D contract.Detector](t *testing.T, fresh func() D, cases []Case) {
	t.Helper()
	for _, c := range cases {
		if got := Detect(t, fresh(), c.Event); got != c.Want {
			t.Errorf("%s: got %q, want %q", c.Name, got, c.Want)
		}
	}
}

// Detect returns "rule severity" of every finding, after checking what all
// findings must hold.
func Detect(t testing.TB, d contract.Detector, ev *event.Event) string {
	t.Helper()
	var got []string
	d.Detect(ev, func(f event.Finding) {
		got = append(got, f.Rule.ID+" "+string(f.Rule.Severity))
		check(t, d, ev, &f)
	})
	return strings.Join(got, ",")
}

func check(t testing.TB, d contract.Detector, ev *event.Event, f *event.Finding) {
	t.Helper()
	if f.Event == ev || f.Event == nil || f.Reason != event.Safe(f.Reason) || f.Reason == "" || len(f.Evidence) == 0 {
		t.Errorf("a bad finding: %+v", *f)
	}
	for _, e := range f.Evidence {
		if e.Field == "" || (e.Source != "kernel" && e.Source != "user" && e.Source != "merlon") {
			t.Errorf("bad evidence: %+v", e)
		}
	}
	i := slices.IndexFunc(d.Rules(), func(r event.Rule) bool { return r.ID == f.Rule.ID })
	if i < 0 || f.Rule.Title != d.Rules()[i].Title || !slices.Equal(f.Rule.Attack, d.Rules()[i].Attack) || f.Rule.Severity.Rank() == 0 {
		t.Errorf("the rule is not one that the detector lists: %+v", f.Rule)
	}
	if !slices.Contains(d.Needs(), ev.Kind) {
		t.Errorf("a finding from a %s event, which the detector does not ask for", ev.Kind)
	}
}

// MissAllocatesNothing gives events that must not match to d, and counts what
// that allocates.
func MissAllocatesNothing(t *testing.T, d contract.Detector, evs ...*event.Event) {
	t.Helper()
	found := func(f event.Finding) { t.Errorf("a finding: %s", f.Reason) }
	if n := testing.AllocsPerRun(100, func() {
		for _, ev := range evs {
			d.Detect(ev, found)
		}
	}); n != 0 {
		t.Errorf("a miss makes %v allocations", n)
	}
}

// Benchmark measures what one event costs.
func Benchmark(b *testing.B, d contract.Detector, ev *event.Event) {
	b.Helper()
	b.ReportAllocs()
	found := func(event.Finding) {}
	for b.Loop() {
		d.Detect(ev, found)
	}
}
