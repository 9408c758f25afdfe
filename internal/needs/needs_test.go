package needs

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
)

// recorder is a sensor that writes down what it is told. Calls that overlap
// fail the test.
type recorder struct {
	contract.Sensor // the rest is not called
	t               *testing.T
	name            string
	knows           []event.Kind
	fails           error

	mu    sync.Mutex
	busy  sync.Mutex
	told  [][]event.Kind
	paths [][]string
}

func (r *recorder) Info() contract.SensorInfo {
	return contract.SensorInfo{Name: r.name, Kinds: r.knows}
}

func (r *recorder) Attach(_ context.Context, kinds []event.Kind) error {
	if !r.busy.TryLock() {
		r.t.Error("two calls at a time")
		return nil
	}
	defer r.busy.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, slices.Clone(kinds))
	return r.fails
}

func (r *recorder) Watch(_ context.Context, paths []string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paths = append(r.paths, slices.Clone(paths))
	return nil
}

// last returns what the recorder was told last, and how often it was.
func (r *recorder) last() ([]event.Kind, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.told) == 0 {
		return nil, 0
	}
	return r.told[len(r.told)-1], len(r.told)
}

func (r *recorder) want(t *testing.T, times int, kinds ...event.Kind) {
	t.Helper()
	got, n := r.last()
	if n != times || !slices.Equal(got, kinds) {
		t.Errorf("%s was told %d times, last %v; want %d times, last %v", r.name, n, got, times, kinds)
	}
}

func apply(t *testing.T, s *Set) {
	t.Helper()
	if err := s.Apply(context.Background()); err != nil {
		t.Error(err)
	}
}

func pair(t *testing.T) (s *Set, process, file *recorder) {
	process = &recorder{t: t, name: "process", knows: []event.Kind{event.KindFork, event.KindExec, event.KindExit}}
	file = &recorder{t: t, name: "file", knows: []event.Kind{event.KindFileCreate, event.KindFileOpen, event.KindFileDelete}}
	return New(Options{}), process, file
}

// Each sensor is told the union of what is asked of it, only when that
// changes, and lets go when the last asker leaves.
func TestUnionAndLettingGo(t *testing.T) {
	s, process, file := pair(t)
	tree := s.Ask("process tree", process.knows, nil)
	s.Add(process)
	apply(t, s)
	s.Add(file)
	s.Whole()
	apply(t, s)
	process.want(t, 1, process.knows...)
	file.want(t, 0) // nothing is asked of it: it is left alone

	a := s.Ask("client 1", []event.Kind{event.KindFileDelete, event.KindExec, event.KindDNS}, nil)
	b := s.Ask("client 2", []event.Kind{event.KindFileCreate, event.KindFileDelete}, nil)
	apply(t, s)
	process.want(t, 1, process.knows...) // nothing new for it
	file.want(t, 1, event.KindFileCreate, event.KindFileDelete)

	a.Close()
	apply(t, s)
	file.want(t, 1, event.KindFileCreate, event.KindFileDelete) // b asks for all of it
	b.Close()
	b.Close()
	apply(t, s)
	file.want(t, 2)
	tree.Close()
	apply(t, s)
	process.want(t, 2)
	if len(s.askers) != 0 {
		t.Errorf("%d askers are left", len(s.askers))
	}
}

func TestPaths(t *testing.T) {
	s, process, file := pair(t)
	s.Add(process)
	s.Add(file)
	s.Whole()
	a := s.Ask("detector a", []event.Kind{event.KindFileOpen}, []string{"/etc/shadow"})
	b := s.Ask("configuration", nil, []string{"/etc/ssh/", "/etc/shadow"}) // paths ask for the kind
	apply(t, s)
	want := [][]string{{"/etc/shadow", "/etc/ssh/"}}
	if !slices.EqualFunc(file.paths, want, slices.Equal) {
		t.Errorf("watched %q, want %q", file.paths, want)
	}
	list := s.Paths()
	if len(list) != 2 || !slices.Equal(list[0].Askers, []string{"detector a", "configuration"}) || !slices.Equal(list[1].Askers, []string{"configuration"}) {
		t.Errorf("paths %+v", list)
	}
	a.Close()
	apply(t, s)
	if len(file.paths) != 1 {
		t.Errorf("told again of the same paths: %q", file.paths)
	}
	file.want(t, 1, event.KindFileOpen)
	b.Close()
	apply(t, s)
	if len(file.paths) != 2 || len(file.paths[1]) != 0 {
		t.Errorf("watched %q after all left", file.paths)
	}
	file.want(t, 2)
}

// A client waits until the sensors it needs are there and told; sensors of
// other kinds are not waited for.
func TestWait(t *testing.T) {
	s, process, file := pair(t)
	s.Add(process)
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	defer wg.Wait()
	defer stop()
	a := s.Ask("client 1", []event.Kind{event.KindExec}, nil)
	if err := a.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	process.want(t, 1, event.KindExec)
	b := s.Ask("client 2", []event.Kind{event.KindFileOpen}, nil)
	gone, leave := context.WithCancel(ctx)
	leave()
	if err := b.Wait(gone); err == nil {
		t.Error("the file sensor is not there and not waited for")
	}
	s.Add(file)
	if err := b.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	file.want(t, 1, event.KindFileOpen)
	c := s.Ask("client 3", []event.Kind{event.KindDNS}, nil) // nobody's kind
	s.Whole()
	if err := c.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestFailure(t *testing.T) {
	ctx := context.Background()
	var told []error
	_, process, file := pair(t)
	s := New(Options{Told: func(_ string, err error) { told = append(told, err) }})
	file.fails = errors.New("no")
	s.Add(file)
	s.Add(process)
	s.Whole()
	s.Ask("x", []event.Kind{event.KindFileOpen, event.KindExec}, nil)
	if err := s.Apply(ctx); !errors.Is(err, file.fails) {
		t.Errorf("apply: %v", err)
	}
	process.want(t, 1, event.KindExec) // the other's failure is not its
	if len(told) != 2 || !errors.Is(told[0], file.fails) || told[1] != nil {
		t.Errorf("told %v", told)
	}
	apply(t, s)
	if _, n := file.last(); n != 1 {
		t.Errorf("tried %d times without a change", n)
	}
	for _, n := range s.List() {
		asked := n.Kind == event.KindFileOpen || n.Kind == event.KindExec
		if (len(n.Askers) > 0) != asked || n.Told != (n.Kind == event.KindExec) || len(n.Sensors) != 1 {
			t.Errorf("need %+v", n)
		}
	}
}

// Many clients come and go at once: calls never overlap, and in the end
// nothing is attached.
func TestManyAskers(t *testing.T) {
	s, process, file := pair(t)
	s.Add(process)
	s.Add(file)
	s.Whole()
	ctx, stop := context.WithCancel(context.Background())
	var run, clients sync.WaitGroup
	run.Go(func() { s.Run(ctx) })
	for i := range 32 {
		clients.Go(func() {
			for range 5 {
				a := s.Ask("client", []event.Kind{file.knows[i%3], event.KindExec}, nil)
				if err := a.Wait(ctx); err != nil {
					t.Error(err)
				}
				if got, _ := file.last(); !slices.Contains(got, file.knows[i%3]) {
					t.Errorf("%v is not attached, only %v", file.knows[i%3], got)
				}
				a.Close()
			}
		})
	}
	clients.Wait()
	end := s.Ask("end", nil, nil)
	if err := end.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	stop()
	run.Wait()
	if got, _ := file.last(); len(got) != 0 {
		t.Errorf("%v is still attached", got)
	}
	if got, _ := process.last(); len(got) != 0 {
		t.Errorf("%v is still attached", got)
	}
}
