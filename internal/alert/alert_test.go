package alert

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
)

var start = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)

// shelf is a store and a sink in memory.
type shelf struct {
	got  []event.Alert
	byID map[string]*event.Alert
	err  error
}

func (s *shelf) PutAlert(a *event.Alert) {
	if s.byID == nil {
		s.byID = make(map[string]*event.Alert)
	}
	s.byID[a.ID] = a
}

func (s *shelf) Alerts(_ context.Context, since time.Time, limit int) ([]*event.Alert, error) {
	var list []*event.Alert
	for _, a := range s.byID {
		if !a.Last.Before(since) {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b *event.Alert) int { return b.Last.Compare(a.Last) })
	if limit > 0 && len(list) > limit {
		list = list[:limit]
	}
	return list, s.err
}
func (s *shelf) Name() string         { return "shelf" }
func (s *shelf) Event(*event.Event)   {}
func (s *shelf) Alert(a *event.Alert) { s.got = append(s.got, *a) }
func (s *shelf) Dropped() uint64      { return 0 }
func (s *shelf) Close() error         { return nil }

// watch is a clock that stands still until it is moved.
type watch struct{ t time.Time }

func (w *watch) now() time.Time { return w.t }

func manager(o Options) (*Manager, *shelf, *watch) {
	s, w := &shelf{}, &watch{start}
	o.Sinks, o.Store = []contract.Sink{s}, s
	m := New(o)
	m.now = w.now
	return m, s, w
}

// A login shell of pid 100 (its own session), with children.
var (
	initProc = &event.Process{PID: 1, SID: 1, Start: 1}
	shell    = process(100, 100, "/bin/bash", initProc)
)

func process(pid, sid uint32, exe event.Text, parent *event.Process) *event.Process {
	p := &event.Process{PID: pid, SID: sid, Start: uint64(pid) * 1000, Exe: exe}
	p.SetParent(parent)
	return p
}

func finding(rule string, p *event.Process, at time.Duration) event.Finding {
	return event.Finding{
		Rule: event.Rule{ID: rule}, Time: start.Add(at), Reason: "it did " + rule,
		Evidence: []event.Evidence{{Field: "process.exe", Value: p.Exe, Source: "kernel"}},
		Event:    &event.Event{Kind: event.KindExec, Process: p, Exec: &event.Exec{}},
	}
}

func TestGrouping(t *testing.T) {
	child := func(pid uint32, exe event.Text) *event.Process { return process(pid, 100, exe, shell) }
	script := finding("a", child(7, "/bin/sh"), 0)
	script.Event.Exec.Script = "/tmp/x.sh"
	other := process(200, 200, "/bin/bash", initProc)
	for _, tt := range []struct {
		name string
		f    event.Finding
		same bool
	}{
		{"another process of the session", finding("a", child(8, "/bin/nc"), time.Second), true},
		{"its grandchild", finding("a", process(9, 100, "/bin/nc", child(8, "/bin/sh")), 0), true},
		{"another rule", finding("b", child(8, "/bin/nc"), 0), false},
		{"another binary", finding("a", child(8, "/bin/nmap"), 0), false},
		{"a script", script, false},
		{"another session", finding("a", process(9, 200, "/bin/nc", other), 0), false},
		{"a session of its own", finding("a", process(9, 9, "/bin/nc", shell), 0), false},
		{"no process", event.Finding{Rule: event.Rule{ID: "a"}, Time: start}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, _, _ := manager(Options{})
			m.Add(finding("a", child(7, "/bin/nc"), 0))
			m.Add(tt.f)
			if got := m.Stats().Alerts == 1; got != tt.same {
				t.Errorf("one alert: %v, want %v", got, tt.same)
			}
		})
	}
}

func TestObjectsOfActs(t *testing.T) {
	m, s, _ := manager(Options{})
	find := func(ev event.Event) {
		ev.Process, ev.Time = shell, start
		m.Add(event.Finding{Rule: event.Rule{ID: "r"}, Event: &ev})
	}
	for range 2 {
		find(event.Event{Kind: event.KindFileCreate, File: &event.FileAct{Path: "/etc/cron.d/a"}})
		find(event.Event{Kind: event.KindFileRename, File: &event.FileAct{Path: "/tmp/x", NewPath: "/etc/cron.d/b"}})
		find(event.Event{Kind: event.KindNetConnect, Net: &event.Net{RemoteAddr: "192.0.2.1"}})
		find(event.Event{Kind: event.KindNetConnect, Net: &event.Net{RemoteAddr: "192.0.2.2"}})
		find(event.Event{Kind: event.KindPtrace, Privilege: &event.Privilege{Target: &event.Target{PID: 7}}})
	}
	if len(s.byID) != 5 {
		t.Errorf("%d alerts of acts on 5 objects", len(s.byID))
	}
}

func TestLineageWithoutSession(t *testing.T) {
	top := process(50, 0, "/a", initProc)
	if got, want := lineage(process(52, 0, "/c", process(51, 0, "/b", top))), top.Key(); got != want {
		t.Errorf("got %v, want the child of init, %v", got, want)
	}
	if got, want := lineage(process(53, 40, "/c", top)), (event.Key{PID: 40}); got != want {
		t.Errorf("leader is gone: got %v, want %v", got, want)
	}
	if got := lineage(initProc); got != initProc.Key() {
		t.Errorf("init: got %v", got)
	}
}

func TestFirstAtOnceThenUpdatesNowAndThen(t *testing.T) {
	m, s, w := manager(Options{Update: 10 * time.Second, Idle: time.Minute})
	add := func(at time.Duration) {
		w.t = start.Add(at)
		m.Add(finding("a", shell, at))
	}
	check := func(when string, want ...uint64) {
		t.Helper()
		var got []uint64
		for _, a := range s.got {
			got = append(got, a.Count)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: published counts %v, want %v", when, got, want)
		}
	}
	add(0)
	check("first", 1)
	add(time.Second)
	add(2 * time.Second)
	m.flush(false)
	check("too soon", 1)
	w.t = start.Add(10 * time.Second)
	m.flush(false)
	m.flush(false)
	check("when it is time", 1, 3)
	add(30 * time.Second)
	check("after a rest", 1, 3, 4)
	add(31 * time.Second)
	m.Flush()
	check("at the end", 1, 3, 4, 5)
	a := s.got[len(s.got)-1]
	if a.ID != s.got[0].ID || !a.First.Equal(start) || !a.Last.Equal(start.Add(31*time.Second)) {
		t.Errorf("alert: id %s after %s, %v to %v", a.ID, s.got[0].ID, a.First, a.Last)
	}
	if d := cmp.Diff(a, *s.byID[a.ID], cmp.AllowUnexported(event.Process{})); d != "" {
		t.Errorf("sink and store differ:\n%s", d)
	}
	add(2 * time.Minute)
	check("after it was closed", 1, 3, 4, 5, 1)
	if s.got[4].ID == a.ID {
		t.Error("a closed alert took another finding")
	}
}

// Whatever comes, the counts of the alerts add up to the findings, and the
// first finding of each rule is an alert at once.
func TestFloodLosesNothing(t *testing.T) {
	m, s, w := manager(Options{Burst: 5, Refill: time.Second, Max: 20})
	const n = 3000
	for i := range n {
		w.t = start.Add(time.Duration(i) * 10 * time.Millisecond)
		rule := fmt.Sprint("rule", i%3)
		before := len(s.got)
		m.Add(finding(rule, process(uint32(1000+i), uint32(1000+i), "/tmp/x", initProc), 0))
		if i < 3 && (len(s.got) != before+1 || s.got[before].Rule.ID != rule) {
			t.Errorf("the first of %s was not told at once", rule)
		}
	}
	m.Flush()
	var sum uint64
	for _, a := range s.byID {
		sum += a.Count
	}
	st := m.Stats()
	if sum != n || st.Findings != n {
		t.Errorf("counts of the alerts add up to %d, findings %d, want %d", sum, st.Findings, n)
	}
	if made := 3 * (5 + 1 + n*10/1000); int(st.Alerts) > made || len(s.byID) != int(st.Alerts) {
		t.Errorf("%d alerts, stored %d, want at most %d", st.Alerts, len(s.byID), made)
	}
	if st.Held != 20 || st.Limit != 20 || st.Evicted == 0 || st.Merged == 0 {
		t.Errorf("books: %+v", st)
	}
}

func TestListMergesMemoryAndStore(t *testing.T) {
	m, s, w := manager(Options{Max: 2})
	for i, exe := range []event.Text{"/1", "/2", "/3"} {
		w.t = start.Add(time.Duration(i) * time.Second)
		m.Add(finding("a", process(uint32(10+i), 100, exe, shell), w.t.Sub(start)))
	}
	m.Add(finding("a", process(12, 100, "/3", shell), 3*time.Second)) // memory is newer than the store
	names := func(list []*event.Alert) (out []string) {
		for _, a := range list {
			out = append(out, fmt.Sprint(a.Process.Exe, " ", a.Count))
		}
		return out
	}
	ctx := context.Background()
	for _, tt := range []struct {
		since time.Duration
		limit int
		want  []string
	}{
		{0, 0, []string{"/3 2", "/2 1", "/1 1"}},
		{0, 2, []string{"/3 2", "/2 1"}},
		{time.Second, 0, []string{"/3 2", "/2 1"}},
		{time.Hour, 0, nil},
	} {
		list, err := m.List(ctx, start.Add(tt.since), tt.limit)
		if d := cmp.Diff(tt.want, names(list)); d != "" || err != nil {
			t.Errorf("since %v, limit %d: %v (-want +got):\n%s", tt.since, tt.limit, err, d)
		}
	}
	s.err, s.byID = errors.New("disk on fire"), nil
	list, err := m.List(ctx, start, 0)
	if err == nil || len(list) != 2 {
		t.Errorf("store fails: %d alerts and error %v, want the 2 in memory and an error", len(list), err)
	}
}

func TestSubscribe(t *testing.T) {
	m, _, _ := manager(Options{})
	slow, fast := m.Subscribe(1), m.Subscribe(10)
	for i := range 3 {
		m.Add(finding(fmt.Sprint(i), shell, 0))
	}
	slow.Close()
	slow.Close()
	m.Add(finding("3", shell, 0))
	fast.Close()
	count := func(s *Subscription) (n int) {
		for range s.C {
			n++
		}
		return n
	}
	if got, want := fmt.Sprint(count(slow), slow.Dropped(), count(fast), fast.Dropped(), m.Stats().Dropped), "1 2 4 0 2"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAlertKeepsLittle(t *testing.T) {
	m, s, _ := manager(Options{})
	f := finding("a", shell, 0)
	long := event.Text(strings.Repeat("x", 100_000))
	f.Event.Exec.Args = []event.Text{"/bin/bash", "-c", long}
	f.Evidence = []event.Evidence{{Field: "exec.args", Value: long, Source: "user"}}
	m.Add(f)
	a := s.got[0]
	if x := a.Event.Exec; !x.ArgsCut || len(x.Args) != 2 || len(a.Evidence[0].Value) != maxText || !a.UserMemory {
		t.Errorf("alert keeps %d arguments (cut: %v), evidence of %d bytes", len(x.Args), x.ArgsCut, len(a.Evidence[0].Value))
	}
	if len(f.Event.Exec.Args) != 3 || f.Event.Exec.ArgsCut || len(f.Evidence[0].Value) != len(long) {
		t.Error("the finding was changed")
	}
}

func TestIDsAreUniqueAndSortByTime(t *testing.T) {
	a, b, c := newID(start), newID(start), newID(start.Add(time.Millisecond))
	if len(a) != 26 || a == b || c <= a || c <= b {
		t.Errorf("ids %s, %s, later %s", a, b, c)
	}
}

func TestRunFlushesAtTheEnd(t *testing.T) {
	m, s, _ := manager(Options{})
	m.Add(finding("a", shell, 0))
	m.Add(finding("a", shell, 0))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := m.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if n := len(s.got); n != 2 || s.got[1].Count != 2 {
		t.Errorf("published %d alerts: %+v", n, s.got)
	}
}
