package engine

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/ring"
	"github.com/merlon/merlon/internal/ring/ringtest"
)

func benchEngine(queue func() ring.Stats) *Engine {
	d := &silent{journal{name: "d", needs: []event.Kind{event.KindExec}}}
	return New(Options{
		Sensors: []contract.Sensor{&toy{}}, Enrichers: []contract.Enricher{&d.journal},
		Detectors: []contract.Detector{d}, Sinks: []contract.Sink{d}, Queue: queue,
	})
}

// silent is a journal that finds nothing.
type silent struct{ journal }

func (*silent) Detect(*event.Event, func(event.Finding)) {}
func (*silent) Event(*event.Event)                       {}

// BenchmarkHandle is the engine's own cost per event: one enricher, one
// detector, one sink, all of which do next to nothing.
func BenchmarkHandle(b *testing.B) {
	e := benchEngine(nil)
	rec := record(wireExec, 1, plain)
	b.ReportAllocs()
	for b.Loop() {
		e.handle(rec)
	}
}

// BenchmarkKernelToSink is the whole way of 1 KiB records, with a producer
// that runs as fast as the kernel can on one CPU.
func BenchmarkKernelToSink(b *testing.B) {
	f := ringtest.Open(b, 4<<20, 8<<20)
	if err := f.Set(ringtest.Record{Kind: wireExec, Data: append(record(wireExec, 1, plain), make([]byte, 1000)...)}); err != nil {
		b.Fatal(err)
	}
	r, err := ring.New(ring.Options{Critical: f.Critical, Bulk: f.Bulk, State: f.State})
	if err != nil {
		b.Fatal(err)
	}
	e := benchEngine(r.Stats)
	ctx, cancel := context.WithCancel(context.Background())
	b.ResetTimer()
	go func() { _ = r.Run(ctx) }()
	go func() {
		defer cancel()
		if err := f.Feed(runtime.NumCPU()-1, b.N); err != nil {
			b.Error(err)
			return
		}
		counts, err := f.Counts()
		if err != nil {
			b.Error(err)
			return
		}
		want := counts[wireExec].Produced - counts[wireExec].Lost
		for r.Stats().Delivered[wireExec] < want {
			time.Sleep(time.Millisecond)
		}
	}()
	if err := e.Run(ctx, r.Batches()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	counts, err := f.Counts()
	if err != nil {
		b.Fatal(err)
	}
	n := e.Stats().Kinds[0].Events
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(100*float64(counts[wireExec].Lost)/float64(counts[wireExec].Produced), "%lost")
	if err := r.Close(); err != nil {
		b.Error(err)
	}
}
