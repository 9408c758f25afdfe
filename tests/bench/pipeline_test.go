package main

import (
	"log/slog"
	"maps"
	"slices"
	"testing"

	"github.com/merlon/merlon/internal/config"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
	"github.com/merlon/merlon/internal/ring/ringtest"
	"github.com/merlon/merlon/internal/sensors/process"
)

// Small rings under records as fast as the kernel makes them: most is lost,
// and every record is either an event or counted.
func TestFloodedBooksBalance(t *testing.T) {
	conf := config.Default()
	conf.Rings.Critical, conf.Rings.Bulk, conf.Rings.Queue = 256<<10, 128<<10, 1<<20
	f := ringtest.Open(t, int(conf.Rings.Critical), int(conf.Rings.Bulk)) // first: skips without root
	fed, err := captureFed(t.Context(), lives)
	if err != nil {
		t.Fatal(err)
	}
	p := &pipeline{o: pipelineOptions{Events: 600_000, Stream: lives, Detectors: true, Flood: true}, conf: conf, fed: fed, feeder: f, fill: 2000}
	if err := p.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := p.rep
	t.Logf("%d produced, %d delivered, %d lost in the rings, %d at the queue", r.Produced, r.Delivered, r.LostKernel, r.LostQueue)
	if !r.balanced() {
		t.Errorf("%d produced, %d delivered, %d decoded, %d lost in the rings, %d at the queue", r.Produced, r.Delivered, r.Decoded, r.LostKernel, r.LostQueue)
	}
	if r.LostKernel == 0 || r.Delivered == 0 {
		t.Error("the flood lost nothing, or everything: it was none")
	}
}

// Without a flood nothing is lost, and every record becomes the process that
// it was made to be.
func TestFedProcesses(t *testing.T) {
	conf := config.Default()
	f := ringtest.Open(t, int(conf.Rings.Critical), int(conf.Rings.Bulk))
	fed, err := captureFed(t.Context(), lives)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[event.Kind]event.Key{}
	for range 3 {
		for _, l := range fed.life {
			k := l.of
			var ev event.Event
			if err := fed.Decode(l.rec, &ev); err != nil {
				t.Fatal(err)
			}
			if ev.Kind != k || ev.Process.Key() == seen[k] {
				t.Errorf("a %s record became %s of %+v, as before", k, ev.Kind, ev.Process.Key())
			}
			seen[k] = ev.Process.Key()
		}
		if keys := slices.Collect(maps.Values(seen)); keys[0] != keys[1] || keys[1] != keys[2] {
			t.Errorf("one life has the keys %v", keys)
		}
	}
	p := &pipeline{o: pipelineOptions{Events: 3000, Stream: lives}, conf: conf, fed: fed, feeder: f, fill: 2000}
	if err := p.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := p.rep; !r.balanced() || r.LostKernel+r.LostQueue != 0 || r.Events != 3000 {
		t.Errorf("got %+v, want 3000 events and no loss", r)
	}
}

// With all that the process sensor can do, nothing runs at system calls, so
// that one nobody watches costs nothing.
func TestProcessSensorIsOffSyscalls(t *testing.T) {
	ringtest.Open(t, 4096, 4096) // skips without root
	before, err := links()
	if err != nil {
		t.Fatal(err)
	}
	k, err := kernel.Open(t.Context(), openOptions())
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	s := process.New(k, slog.New(slog.DiscardHandler))
	defer s.Close()
	if err := s.Attach(t.Context(), s.Info().Kinds); err != nil {
		t.Fatal(err)
	}
	after, err := links()
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(after, func(id linkID, _ string) bool { _, old := before[id]; return old })
	points := slices.Sorted(maps.Values(after))
	t.Log(points)
	for _, p := range points {
		if onSyscalls(p) {
			t.Errorf("attached to %s", p)
		}
	}
	for _, want := range []string{"sched_process_fork", "sched_process_exec", "sched_process_exit"} {
		if !slices.ContainsFunc(points, func(p string) bool { return p == want || p == "btf_trace_"+want }) {
			t.Errorf("%s is not in the list of links %v: the list is of no use", want, points)
		}
	}
}

func TestOnSyscalls(t *testing.T) {
	for point, want := range map[string]bool{
		"sys_enter": true, "btf_trace_sys_exit": true, "sys_enter_openat": true, "sys_exit_execve": true,
		"sched_process_exec": false, "btf_trace_sched_process_fork": false, "link of type 7": false,
	} {
		if got := onSyscalls(point); got != want {
			t.Errorf("onSyscalls(%q) = %v", point, got)
		}
	}
}
