package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/config"
	"github.com/merlon/merlon/internal/engine"
	"github.com/merlon/merlon/internal/ring"
	"github.com/merlon/merlon/internal/ring/ringtest"
)

// The pipeline stage runs in a process of its own (bench -child), so that its
// memory is the pipeline's alone: real records are put into real rings by
// BPF_PROG_RUN, read by ring.Reader, decoded by the process sensor's decoder
// and completed by the agent's enrichers in the engine, all under the agent's
// default limits.
//
// "Per core" is events per second of CPU time of all threads, garbage
// collection included, less the thread that feeds.

// gcPercent is how the agent sets the garbage collector (internal/app).
const gcPercent = 200

// pipelineOptions choose what the child does.
type pipelineOptions struct {
	Events    int    `json:"events"`
	Stream    stream `json:"stream"`
	Detectors bool   `json:"detectors"` // the agent's detectors too
	Flood     bool   `json:"flood"`     // never wait for the reader: as fast as the kernel can
	Rate      int    `json:"rate"`      // with flood: so many a second
}

// pipelineReport is what the child prints. The books are of the whole run, the
// rest is of the measured part of it.
type pipelineReport struct {
	Events     uint64        `json:"events"`
	CPU        time.Duration `json:"cpu_ns"` // of everything but the feeder
	Wall       time.Duration `json:"wall_ns"`
	Fed        time.Duration `json:"fed_ns"`          // how long feeding took
	Anonymous  int64         `json:"anonymous_bytes"` // at the end
	Allocs     float64       `json:"allocs_per_event"`
	AllocBytes float64       `json:"alloc_bytes_per_event"`
	Records    []int         `json:"record_bytes"` // sizes of the records fed in turn

	Produced   uint64 `json:"produced"`
	LostKernel uint64 `json:"lost_kernel"`
	LostQueue  uint64 `json:"lost_queue"`
	Delivered  uint64 `json:"delivered"` // handed to the engine
	Decoded    uint64 `json:"decoded"`   // became events, or told of something told before
}

// perCore is events per second of CPU time.
func (r *pipelineReport) perCore() float64 { return float64(r.Events) / r.CPU.Seconds() }

// balanced reports whether every record produced was delivered or counted.
func (r *pipelineReport) balanced() bool {
	return r.Produced == r.Delivered+r.LostKernel+r.LostQueue && r.Delivered == r.Decoded
}

// pipelineChild runs one measurement and prints its report as JSON.
func pipelineChild(ctx context.Context, o pipelineOptions) error {
	fed, err := captureFed(ctx, o.Stream)
	if err != nil {
		return err
	}
	conf := config.Default()
	debug.SetMemoryLimit(int64(conf.Memory.SoftLimit))
	debug.SetGCPercent(gcPercent)
	p := &pipeline{o: o, conf: conf, fed: fed}
	// ringtest cleans up after a test or benchmark, so this is one; it is
	// called again for more rounds, which are not needed.
	err = errors.New("feed records: needs CAP_BPF: run as root")
	ran := false
	testing.Benchmark(func(b *testing.B) {
		if ran {
			time.Sleep(time.Millisecond)
			return
		}
		ran = true
		p.feeder = ringtest.Open(b, int(conf.Rings.Critical), int(conf.Rings.Bulk))
		err = p.run(ctx)
	})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(p.rep); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

type pipeline struct {
	o      pipelineOptions
	conf   *config.Config
	fed    *fed
	feeder *ringtest.Feeder
	reader *ring.Reader
	fill   int // records fed before measuring; 0: what fills the tree
	room   int // records that fill half of a ring
	rep    pipelineReport
}

func (p *pipeline) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var err error
	p.reader, err = ring.New(ring.Options{Critical: p.feeder.Critical, Bulk: p.feeder.Bulk, State: p.feeder.State, QueueBytes: int(p.conf.Rings.Queue)})
	if err != nil {
		return err
	}
	o, err := options(ctx, p.conf, p.fed, p.o.Detectors)
	if err != nil {
		return err
	}
	eng := engine.New(o)
	done := make(chan error, 2)
	go func() { done <- p.reader.Run(ctx) }()
	go func() { done <- eng.Run(ctx, p.reader.Batches()) }()
	if err := p.measure(); err != nil {
		return err
	}
	cancel()
	if err := errors.Join(<-done, <-done); err != nil {
		return err
	}
	return errors.Join(p.books(eng), p.reader.Close())
}

// measure feeds three times: to fill the tree, to grow the heap to what it
// needs, then for the record.
func (p *pipeline) measure() error {
	fill := p.fill
	switch {
	case fill > 0:
	case p.o.Stream == fresh:
		fill = p.conf.Process.MaxTracked
	default:
		fill = running
	}
	for _, recs := range [][]ringtest.Record{p.fed.first(), p.fed.records()} {
		if err := p.set(recs); err != nil {
			return err
		}
		if _, err := p.feed(fill, false); err != nil {
			return err
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	first := p.delivered()
	wall, cpu := time.Now(), clock(unix.CLOCK_PROCESS_CPUTIME_ID)
	feeder, err := p.feed(p.o.Events, p.o.Flood)
	if err != nil {
		return err
	}
	p.rep.CPU = clock(unix.CLOCK_PROCESS_CPUTIME_ID) - cpu - feeder
	p.rep.Wall = time.Since(wall)
	p.rep.Events = p.delivered() - first
	runtime.ReadMemStats(&after)
	p.rep.Allocs = float64(after.Mallocs-before.Mallocs) / float64(p.rep.Events)
	p.rep.AllocBytes = float64(after.TotalAlloc-before.TotalAlloc) / float64(p.rep.Events)
	p.rep.Anonymous, err = anonymous(os.Getpid())
	return err
}

// feed puts n records into the rings from the last CPU and waits until all
// that were not lost have been handled: of a flood at the end, else after every
// burst, of which the rings can hold one. It returns the CPU time that feeding
// took.
func (p *pipeline) feed(n int, flood bool) (time.Duration, error) {
	burst := p.room
	if flood {
		burst = 30_000
	}
	var spent time.Duration
	for fed, began := 0, time.Now(); fed < n; {
		now := min(burst, n-fed)
		if flood && p.o.Rate > 0 { // what is due
			time.Sleep(time.Millisecond)
			now = min(n, int(time.Since(began).Seconds()*float64(p.o.Rate))) - fed
		}
		if now == 0 {
			continue
		}
		d, err := p.burst(now)
		spent, fed = spent+d, fed+now
		if err != nil {
			return spent, err
		}
		if fed == n {
			p.rep.Fed = time.Since(began)
		}
		if flood && fed < n {
			continue
		}
		if err := p.drained(); err != nil {
			return spent, err
		}
	}
	return spent, nil
}

// set chooses the records to be fed, and how many of them fill half of the
// smaller ring, in whole rounds.
func (p *pipeline) set(recs []ringtest.Record) error {
	largest := 0
	for _, r := range recs {
		largest = max(largest, len(r.Data))
	}
	p.room = 12 * (int(min(p.conf.Rings.Critical, p.conf.Rings.Bulk)) / 2 / (largest + 16) / 12)
	return p.feeder.Set(recs...)
}

// burst feeds n records and returns the CPU time of the thread that did.
func (p *pipeline) burst(n int) (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := clock(unix.CLOCK_THREAD_CPUTIME_ID)
	err := p.feeder.Feed(runtime.NumCPU()-1, n)
	return clock(unix.CLOCK_THREAD_CPUTIME_ID) - before, err
}

// drained waits until everything that reached a ring was handled.
func (p *pipeline) drained() error {
	counts, err := p.feeder.Counts()
	if err != nil {
		return err
	}
	var want uint64
	for _, c := range counts {
		want += c.Produced - c.Lost
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		s := p.reader.Stats()
		if sum(s.Delivered)+sum(s.Dropped) >= want && s.QueueDepth == 0 {
			return nil
		}
	}
	return fmt.Errorf("feed records: %d of %d in the rings were delivered within a minute", p.delivered(), want)
}

func (p *pipeline) delivered() uint64 { return sum(p.reader.Stats().Delivered) }

// books fills in the counts of the whole run.
func (p *pipeline) books(eng *engine.Engine) error {
	counts, err := p.feeder.Counts()
	if err != nil {
		return err
	}
	for _, c := range counts {
		p.rep.Produced += c.Produced
		p.rep.LostKernel += c.Lost
	}
	s := p.reader.Stats()
	p.rep.LostQueue, p.rep.Delivered = sum(s.Dropped), sum(s.Delivered)
	for _, k := range eng.Stats().Kinds {
		p.rep.Decoded += k.Delivered
	}
	for _, r := range p.fed.records() {
		p.rep.Records = append(p.rep.Records, len(r.Data))
	}
	return nil
}

func sum(m map[uint16]uint64) (n uint64) {
	for _, v := range m {
		n += v
	}
	return n
}

func clock(id int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0 // these clocks are always there (clock_getres(2))
	}
	return time.Duration(ts.Nano())
}
