package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/ring"
	"github.com/merlon/merlon/internal/ring/ringtest"
)

// The record kinds of the sensor below.
const (
	wireExec   = 2
	wireArgs   = 3
	wireCgroup = 5
)

// toy is a small sensor: after the header, a record holds a pid and an order.
type toy struct {
	procs    [8]event.Process
	existing []uint32 // what Seed tells of
	seedErr  error
	seeds    int
}

// Orders in a record.
const (
	plain = iota
	refuse
	blowUp
)

func (t *toy) Info() contract.SensorInfo {
	return contract.SensorInfo{
		Name: "toy", Kinds: []event.Kind{event.KindExec, event.KindCgroup},
		Wire: map[uint16]event.Kind{wireExec: event.KindExec, wireArgs: event.KindExec, wireCgroup: event.KindCgroup},
	}
}
func (t *toy) Probe(context.Context) []event.Feature      { return nil }
func (t *toy) Attach(context.Context, []event.Kind) error { return nil }
func (t *toy) Close() error                               { return nil }
func (t *toy) Seed(_ context.Context, f func(*event.Event)) error {
	t.seeds++
	var ev event.Event
	for _, pid := range t.existing {
		ev.Kind, ev.Process = event.KindTask, &event.Process{PID: pid} // Was stays: the engine's to empty
		f(&ev)
	}
	return t.seedErr
}

func (t *toy) Decode(rec []byte, ev *event.Event) error {
	if len(rec) < headerSize+8 {
		return fmt.Errorf("record of %d bytes, want %d", len(rec), headerSize+8)
	}
	pid, order := binary.NativeEndian.Uint32(rec[16:]), binary.NativeEndian.Uint32(rec[20:])
	switch order {
	case refuse:
		return errors.New("refused")
	case blowUp:
		return fmt.Errorf("no such byte: %d", rec[len(rec)+int(order)]) // an index beyond its end
	}
	ev.Boot = binary.NativeEndian.Uint64(rec)
	switch binary.NativeEndian.Uint16(rec[8:]) {
	case wireArgs:
		return contract.ErrPartial
	case wireCgroup:
		ev.Kind = event.KindCgroup
	default:
		ev.Kind = event.KindExec
	}
	p := &t.procs[pid%uint32(len(t.procs))]
	p.PID, ev.Process = pid, p
	return nil
}

func record(wire uint16, pid, order uint32) []byte {
	rec := make([]byte, headerSize+8)
	binary.NativeEndian.PutUint16(rec[8:], wire)
	binary.NativeEndian.PutUint32(rec[16:], pid)
	binary.NativeEndian.PutUint32(rec[20:], order)
	return rec
}

// journal is enricher, detector and sink: it writes down who saw what.
type journal struct {
	name  string
	needs []event.Kind
	lines *[]string
	// dup is the pid whose events are duplicates, bad the one to panic at.
	dup, bad uint32
	changed  uint32 // the pid of which a seed tells more than was known
	losses   []event.Loss
	pause    time.Duration
	n        map[event.Kind]uint64
}

func (j *journal) note(what string, ev *event.Event) {
	if j.lines == nil {
		return
	}
	line := j.name + " " + what
	if ev != nil {
		line += " " + string(ev.Kind)
	}
	if ev != nil && ev.Process != nil {
		line += fmt.Sprint(" ", ev.Process.PID)
	}
	*j.lines = append(*j.lines, line)
}

func (j *journal) Name() string        { return j.name }
func (j *journal) Size() (int, int)    { return 1, 10 }
func (j *journal) BeginResync()        { j.note("begin", nil) }
func (j *journal) EndResync()          { j.note("end", nil) }
func (j *journal) Rules() []event.Rule { return nil }
func (j *journal) Needs() []event.Kind { return j.needs }
func (j *journal) Alert(*event.Alert)  {}
func (j *journal) Dropped() uint64     { return 7 }
func (j *journal) Close() error        { return nil }
func (j *journal) Enrich(ev *event.Event) {
	j.note("enrich", ev)
	if j.dup != 0 && ev.Process.PID == j.dup {
		ev.Kind = ""
	}
	if j.changed != 0 && ev.Process.PID == j.changed {
		ev.Was = &event.Process{PID: ev.Process.PID}
	}
}

func (j *journal) Detect(ev *event.Event, found func(event.Finding)) {
	if j.bad != 0 && ev.Process != nil && ev.Process.PID == j.bad {
		panic("bad rule")
	}
	j.note("detect", ev)
	found(event.Finding{Event: ev.Clone()})
}

func (j *journal) Event(ev *event.Event) {
	j.note("event", ev)
	if j.n != nil {
		j.n[ev.Kind]++
	}
	if ev.Loss != nil {
		j.losses = append(j.losses, *ev.Loss)
	}
	time.Sleep(j.pause)
}

// run handles records in one batch and ends.
func run(t *testing.T, e *Engine, records ...[]byte) {
	t.Helper()
	c := make(chan *ring.Batch, 1)
	c <- ring.NewBatch(records...)
	close(c)
	if err := e.Run(context.Background(), c); err != nil {
		t.Fatal(err)
	}
}

func TestOrderOfThings(t *testing.T) {
	var lines []string
	tree := &journal{name: "tree", lines: &lines, dup: 30}
	names := &journal{name: "names", lines: &lines}
	execs := &journal{name: "execs", needs: []event.Kind{event.KindExec}, lines: &lines}
	sink := &journal{name: "sink", lines: &lines}
	var found []event.Kind
	e := New(Options{
		Sensors:   []contract.Sensor{&toy{existing: []uint32{1, 2}}},
		Enrichers: []contract.Enricher{tree, names},
		Detectors: []contract.Detector{execs},
		Sinks:     []contract.Sink{sink},
		Findings:  func(f event.Finding) { found = append(found, f.Event.Kind) },
	})
	run(t, e, record(wireExec, 10, plain), record(wireArgs, 11, plain), record(wireCgroup, 20, plain), record(wireExec, 30, plain))
	want := []string{
		"tree begin", "names begin",
		"tree enrich task 1", "names enrich task 1", "tree enrich task 2", "names enrich task 2",
		"tree end", "names end",
		"tree enrich exec 10", "names enrich exec 10", "execs detect exec 10", "sink event exec 10",
		"tree enrich cgroup 20", "names enrich cgroup 20", "sink event cgroup 20",
		"tree enrich exec 30", "names enrich  30",
	}
	if d := cmp.Diff(want, lines); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}
	if !slices.Equal(found, []event.Kind{event.KindExec}) {
		t.Errorf("findings: %v, want one of exec", found)
	}
	s := e.Stats()
	exec, args := kind(t, s, wireExec), kind(t, s, wireArgs)
	if exec.Events != 1 || exec.Duplicates != 1 || exec.Delivered != 2 || args.Partial != 1 {
		t.Errorf("books: exec %+v, args %+v", exec, args)
	}
	if d := cmp.Diff([]DetectorStats{{Name: "execs", Events: 1, Findings: 1}}, s.Detectors); d != "" {
		t.Errorf("detectors (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]SizeStats{{"tree", 1, 10}, {"names", 1, 10}}, s.Enrichers); d != "" {
		t.Errorf("enrichers (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]SinkStats{{"sink", 7}}, s.Sinks); d != "" {
		t.Errorf("sinks (-want +got):\n%s", d)
	}
}

func kind(t *testing.T, s Stats, wire uint16) KindStats {
	t.Helper()
	for _, k := range s.Kinds {
		if k.Wire == wire {
			return k
		}
	}
	t.Fatalf("no book of record kind %d", wire)
	return KindStats{}
}

func TestWhatCannotBeDecodedIsCountedAndTold(t *testing.T) {
	sink := &journal{name: "sink", n: map[event.Kind]uint64{}}
	e := New(Options{Sensors: []contract.Sensor{&toy{}}, Sinks: []contract.Sink{sink}})
	run(t, e, record(wireExec, 1, refuse), record(wireExec, 1, blowUp), record(wireExec, 1, blowUp), record(9, 1, plain),
		[]byte("short"), record(wireExec, 1, plain))
	want := []event.Loss{
		{Of: "record_0", Stage: "decode", Reason: "unknown_kind", Count: 1},
		{Of: event.KindExec, Stage: "decode", Reason: "malformed", Count: 1},
		{Of: event.KindExec, Stage: "decode", Reason: "panic", Count: 2},
		{Of: "record_9", Stage: "decode", Reason: "unknown_kind", Count: 1},
	}
	if d := cmp.Diff(want, sink.losses); d != "" {
		t.Errorf("losses (-want +got):\n%s", d)
	}
	if sink.n[event.KindExec] != 1 {
		t.Errorf("%d exec events, want the one good one", sink.n[event.KindExec])
	}
}

func TestPanickingDetectorIsSwitchedOff(t *testing.T) {
	var lines []string
	bad := &journal{name: "bad", needs: []event.Kind{event.KindExec}, lines: &lines, bad: 6}
	good := &journal{name: "good", needs: []event.Kind{event.KindExec}, lines: &lines}
	e := New(Options{Sensors: []contract.Sensor{&toy{}}, Detectors: []contract.Detector{bad, good}})
	var recs [][]byte
	for range maxPanics {
		recs = append(recs, record(wireExec, 6, plain), record(wireExec, 1, plain))
	}
	run(t, e, append(recs, record(wireExec, 2, plain))...)
	if slices.Contains(lines, "bad detect exec 2") || !slices.Contains(lines, "bad detect exec 1") || !slices.Contains(lines, "good detect exec 2") {
		t.Errorf("calls: %v", lines)
	}
	d := e.Stats().Detectors
	if d[0].Panics != maxPanics || !d[0].Off || d[1].Off || d[1].Events != 2*maxPanics+1 {
		t.Errorf("books: %+v", d)
	}
}

func TestTwoSensorsOfOneKindAreRefused(t *testing.T) {
	e := New(Options{Sensors: []contract.Sensor{&toy{}, &toy{}}})
	if err := e.Run(context.Background(), nil); err == nil {
		t.Error("Run: no error")
	}
}

// books is the kernel's side, as the test wants it.
type books struct {
	counts map[uint16]KernelLoss
	err    error
}

func (b *books) get() (map[uint16]KernelLoss, error) { return b.counts, b.err }

func TestLossesAreToldOnceAndResynced(t *testing.T) {
	var lines []string
	sink := &journal{name: "sink"}
	tree := &journal{name: "tree", lines: &lines}
	sensor := &toy{}
	b := &books{counts: map[uint16]KernelLoss{wireExec: {Produced: 10, Lost: map[string]uint64{"ring_full": 4, "scratch": 0}}}}
	queue := ring.Stats{Dropped: map[uint16]uint64{wireCgroup: 2}}
	e := New(Options{
		Sensors: []contract.Sensor{sensor}, Enrichers: []contract.Enricher{tree}, Sinks: []contract.Sink{sink},
		Counts: b.get, Queue: func() ring.Stats { return queue },
	})
	ctx := context.Background()
	e.second()
	e.second()
	b.counts[wireExec].Lost["ring_full"] = 5
	b.err = errors.New("no books")
	e.second()
	b.err = nil
	e.second()
	want := []event.Loss{
		{Of: event.KindExec, Stage: "kernel", Reason: "ring_full", Count: 4},
		{Of: event.KindCgroup, Stage: "queue", Reason: "full", Count: 2},
		{Of: event.KindExec, Stage: "kernel", Reason: "ring_full", Count: 1},
	}
	if d := cmp.Diff(want, sink.losses); d != "" {
		t.Errorf("losses (-want +got):\n%s", d)
	}
	if k := kind(t, e.Stats(), wireExec); k.InFlight != 5 {
		t.Errorf("in flight: %d, want 10 produced - 5 lost", k.InFlight)
	}

	e.resyncIfDue(ctx, false)
	if sensor.seeds != 0 {
		t.Error("resynced while batches wait")
	}
	sensor.seedErr = errors.New("half of it")
	e.resyncIfDue(ctx, true)
	e.resyncIfDue(ctx, true) // not again in the same second
	if sensor.seeds != 1 || slices.Contains(lines, "tree end") || e.Stats().SeedFails != 1 {
		t.Errorf("after a failed seed: %d seeds, calls %v", sensor.seeds, lines)
	}
	sensor.seedErr = nil
	e.resync.next = time.Time{}
	e.resyncIfDue(ctx, true)
	e.resync.next = time.Time{}
	e.resyncIfDue(ctx, true) // no loss since
	if sensor.seeds != 2 || !slices.Contains(lines, "tree end") || e.Stats().Resyncs != 2 {
		t.Errorf("after the second seed: %d seeds, calls %v", sensor.seeds, lines)
	}
	e.resync = resync{wanted: true, since: time.Now().Add(-2 * resyncWait)}
	e.resyncIfDue(ctx, false)
	if sensor.seeds != 3 {
		t.Error("no resync although it was put off for longer than it may")
	}
}

// The whole way at overload, from real rings: every record produced is either
// delivered or in the book of losses, and every loss was told as an event.
func TestProducedEqualsDeliveredPlusLost(t *testing.T) {
	f := ringtest.Open(t, 256<<10, 256<<10)
	mk := func(wire uint16, bulk bool, order uint32) ringtest.Record {
		return ringtest.Record{Kind: wire, Bulk: bulk, Data: append(record(wire, 1, order), make([]byte, 400)...)}
	}
	if err := f.Set(mk(wireExec, false, plain), mk(wireCgroup, true, plain), mk(wireArgs, false, plain), mk(wireCgroup, true, refuse)); err != nil {
		t.Fatal(err)
	}
	r, err := ring.New(ring.Options{Critical: f.Critical, Bulk: f.Bulk, State: f.State, QueueBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	sink := &journal{name: "sink", n: map[event.Kind]uint64{}, pause: 50 * time.Microsecond}
	sensor := &toy{existing: []uint32{1}}
	e := New(Options{
		Sensors: []contract.Sensor{sensor}, Sinks: []contract.Sink{sink}, Queue: r.Stats,
		Counts: func() (map[uint16]KernelLoss, error) { return kernelCounts(f) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		if err := e.Run(ctx, r.Batches()); err != nil {
			t.Error(err)
		}
	})
	for range 20 {
		if err := f.Feed(0, 5000); err != nil {
			t.Fatal(err)
		}
		e.Stats() // from another goroutine, while it runs
	}
	for s := e.Stats(); kind(t, s, wireExec).InFlight+kind(t, s, wireCgroup).InFlight+kind(t, s, wireArgs).InFlight > 0; s = e.Stats() {
		time.Sleep(time.Millisecond)
	}
	cancel()
	wg.Wait()
	if err := r.Close(); err != nil {
		t.Error(err)
	}

	s := e.Stats()
	told := make(map[event.Kind]uint64)
	for _, l := range sink.losses {
		told[l.Of] += l.Count
	}
	lost := make(map[event.Kind]uint64)
	for _, k := range s.Kinds {
		t.Logf("%+v", k)
		sum := k.Delivered
		for _, l := range k.Lost {
			sum += l.Count
			lost[k.Kind] += l.Count
		}
		if k.Produced != sum {
			t.Errorf("kind %d: produced %d, delivered and lost %d", k.Wire, k.Produced, sum)
		}
	}
	if d := cmp.Diff(lost, told); d != "" {
		t.Errorf("losses in the book and in the stream (-book +stream):\n%s", d)
	}
	if lost[event.KindExec] == 0 {
		t.Error("nothing was lost: the test shows nothing")
	}
	if exec, cg := kind(t, s, wireExec).Events, kind(t, s, wireCgroup).Events; sink.n[event.KindExec] != exec || sink.n[event.KindCgroup] != cg {
		t.Errorf("sink got %v, books say %d and %d", sink.n, exec, cg)
	}
	if s.Latency.P50 <= 0 || s.Latency.P99 < s.Latency.P50 {
		t.Errorf("latency: %+v", s.Latency)
	}
}

func kernelCounts(f *ringtest.Feeder) (map[uint16]KernelLoss, error) {
	counts, err := f.Counts()
	out := make(map[uint16]KernelLoss)
	for w, c := range counts {
		out[w] = KernelLoss{Produced: c.Produced, Lost: map[string]uint64{"ring_full": c.Lost}}
	}
	return out, err
}

func TestNoAllocationPerEvent(t *testing.T) {
	quiet := &journal{name: "quiet", needs: []event.Kind{event.KindCgroup}}
	e := New(Options{
		Sensors: []contract.Sensor{&toy{}}, Enrichers: []contract.Enricher{quiet},
		Detectors: []contract.Detector{quiet}, Sinks: []contract.Sink{quiet},
	})
	rec := record(wireExec, 1, plain)
	if n := testing.AllocsPerRun(1000, func() { e.handle(rec); e.settle() }); n != 0 {
		t.Errorf("%v allocations per event", n)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(record(wireExec, 1, plain))
	f.Add(record(wireExec, 1, blowUp))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, rec []byte) {
		e := New(Options{Sensors: []contract.Sensor{&toy{}}})
		e.handle(rec)
		e.settle()
		var n uint64
		for _, k := range e.Stats().Kinds {
			n += k.Delivered
			for _, l := range k.Lost {
				n += l.Count
			}
		}
		if n != 1 {
			t.Errorf("one record, %d in the books", n)
		}
	})
}

// TestDetectorsSeeWhatAResyncCorrects: what changed while events were lost is
// in no other event. The first seed corrects nothing.
func TestDetectorsSeeWhatAResyncCorrects(t *testing.T) {
	var lines []string
	task := []event.Kind{event.KindTask}
	tree := &journal{name: "tree", changed: 2}
	e := New(Options{
		Sensors:   []contract.Sensor{&toy{existing: []uint32{1, 2, 3}}},
		Enrichers: []contract.Enricher{tree},
		Detectors: []contract.Detector{
			&journal{name: "tasks", needs: task, lines: &lines},
			&journal{name: "execs", needs: []event.Kind{event.KindExec}, lines: &lines},
		},
		Sinks: []contract.Sink{&journal{name: "sink", lines: &lines}},
	})
	none := make(chan *ring.Batch)
	close(none)
	if err := e.Run(context.Background(), none); err != nil {
		t.Fatal(err)
	}
	if len(lines) != 0 {
		t.Errorf("after the first seed: %v", lines)
	}
	e.resync = resync{wanted: true}
	e.resyncIfDue(context.Background(), true)
	if d := cmp.Diff([]string{"tasks detect task 2"}, lines); d != "" {
		t.Errorf("after a resync (-want +got):\n%s", d)
	}
}
