package engine

import (
	"cmp"
	"slices"
	"time"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/ring"
)

// Stats says what an Engine has done since its start.
type Stats struct {
	Kinds     []KindStats     `json:"kinds"` // by wire kind
	Queue     ring.Stats      `json:"queue"`
	Latency   Latency         `json:"latency"`
	Detectors []DetectorStats `json:"detectors"`
	Enrichers []SizeStats     `json:"enrichers"`
	Sinks     []SinkStats     `json:"sinks"`
	Rate1s    float64         `json:"rate_1s"`  // records per second, last second
	Rate60s   float64         `json:"rate_60s"` // the same, last minute
	Losses    uint64          `json:"losses"`   // loss events published
	Resyncs   uint64          `json:"resyncs"`
	SeedTime  time.Duration   `json:"seed_ns"`    // how long the last seed took
	SeedFails uint64          `json:"seed_fails"` // seeds that failed
	Errors    []string        `json:"errors,omitempty"`
}

// KindStats is the book of one kind of record:
// Produced = Delivered + the sum of Lost + InFlight.
type KindStats struct {
	Wire       uint16            `json:"wire"`
	Kind       event.Kind        `json:"kind"`
	Sensor     string            `json:"sensor,omitempty"`
	Produced   uint64            `json:"produced"`   // by the kernel's hooks
	Delivered  uint64            `json:"delivered"`  // arrived and decoded: Events + Partial + Duplicates
	Events     uint64            `json:"events"`     // published
	Partial    uint64            `json:"partial"`    // prepared a later record
	Duplicates uint64            `json:"duplicates"` // told of something told before
	Lost       []LossStats       `json:"lost,omitempty"`
	InFlight   uint64            `json:"in_flight"` // in the rings, the queue, or the batch in work
	Faults     map[string]uint64 `json:"faults,omitempty"`
	Rate1s     float64           `json:"rate_1s"`
	Rate60s    float64           `json:"rate_60s"`
}

// LossStats is one line of a kind's losses.
type LossStats struct {
	Stage  string `json:"stage"`
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
}

// Latency is the time from the act to its publication, over the last one to
// two minutes.
type Latency struct {
	P50 time.Duration `json:"p50_ns"`
	P99 time.Duration `json:"p99_ns"`
}

// DetectorStats is the book of one detector.
type DetectorStats struct {
	Name     string        `json:"name"`
	Events   uint64        `json:"events"` // shown to it
	Findings uint64        `json:"findings"`
	Panics   uint64        `json:"panics,omitempty"`
	Off      bool          `json:"off,omitempty"` // switched off after panics
	Mean     time.Duration `json:"mean_ns"`       // per event, sampled
}

// SizeStats tells how full an enricher is.
type SizeStats struct {
	Name  string `json:"name"`
	Size  int    `json:"size"`
	Limit int    `json:"limit"`
}

// SinkStats is the book of one sink.
type SinkStats struct {
	Name    string `json:"name"`
	Dropped uint64 `json:"dropped"`
}

// Stats returns the books. Records in the batch being handled count as in
// flight. Any goroutine may call it.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	t := e.books
	t.detectors = slices.Clone(t.detectors)
	rates := e.rates.snapshot()
	e.mu.Unlock()
	// What has arrived is read before what was produced, so that nothing is
	// in flight less than nothing.
	queue := e.o.Queue()
	kernel, err := e.o.Counts()

	s := Stats{Queue: queue, Losses: t.losses, Resyncs: t.resyncs, SeedTime: t.lastSeed, SeedFails: t.seedFails}
	if err != nil {
		s.Errors = append(s.Errors, event.Safe(err.Error()))
	}
	if t.seedError != "" {
		s.Errors = append(s.Errors, t.seedError)
	}
	q := e.lat.quantiles(0.5, 0.99)
	s.Latency = Latency{P50: q[0], P99: q[1]}
	losses := lost(&t, kernel, queue.Dropped)
	for w := range uint16(maxKinds) {
		k := e.kindStats(w, &t.kinds[w], kernel[w], losses)
		k.Rate1s, k.Rate60s = rates[w].last, rates[w].minute
		s.Rate1s += k.Rate1s
		s.Rate60s += k.Rate60s
		if k.Sensor != "" || k.Produced != 0 || k.Delivered != 0 || len(k.Lost) != 0 {
			s.Kinds = append(s.Kinds, k)
		}
	}
	e.parts(&s, &t)
	return s
}

func (e *Engine) kindStats(w uint16, t *kindTally, kernel KernelLoss, losses map[lossKey]uint64) KindStats {
	k := KindStats{
		Wire: w, Kind: e.kindOf(w), Sensor: e.wire[w].name, Produced: kernel.Produced, Faults: kernel.Faults,
		Delivered: t.delivered(), Events: t.events, Partial: t.partial, Duplicates: t.duplicates,
	}
	accounted := k.Delivered
	for key, n := range losses {
		if key.wire == w {
			k.Lost = append(k.Lost, LossStats{key.stage, key.reason, n})
			accounted += n
		}
	}
	slices.SortFunc(k.Lost, func(a, b LossStats) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Reason, b.Reason))
	})
	if k.Produced > accounted {
		k.InFlight = k.Produced - accounted
	}
	return k
}

func (e *Engine) parts(s *Stats, t *tally) {
	for i, d := range e.detectors {
		dt := t.detectors[i]
		st := DetectorStats{Name: d.Name(), Events: dt.events, Findings: dt.findings, Panics: dt.panics, Off: dt.off}
		if dt.timed > 0 {
			st.Mean = dt.spent / time.Duration(dt.timed)
		}
		s.Detectors = append(s.Detectors, st)
	}
	for _, en := range e.o.Enrichers {
		n, limit := en.Size()
		s.Enrichers = append(s.Enrichers, SizeStats{en.Name(), n, limit})
	}
	for _, sink := range e.o.Sinks {
		s.Sinks = append(s.Sinks, SinkStats{sink.Name(), sink.Dropped()})
	}
}

// rates remembers, second by second, how many records had been delivered.
type rates struct {
	at  [61]time.Time
	had [61][maxKinds]uint64
	n   int // notes so far
}

func (r *rates) note(t *tally) {
	i := r.n % len(r.at)
	r.at[i] = time.Now()
	for w := range t.kinds {
		r.had[i][w] = t.kinds[w].delivered()
	}
	r.n++
}

type rate struct{ last, minute float64 }

// snapshot returns the records per second of each wire kind.
func (r *rates) snapshot() (out [maxKinds]rate) {
	if r.n < 2 {
		return out
	}
	size := len(r.at)
	newest, before, oldest := (r.n-1)%size, (r.n-2)%size, max(0, r.n-size)%size
	for w := range out {
		out[w] = rate{r.between(before, newest, w), r.between(oldest, newest, w)}
	}
	return out
}

func (r *rates) between(from, to, w int) float64 {
	d := r.at[to].Sub(r.at[from]).Seconds()
	if d <= 0 {
		return 0
	}
	return float64(r.had[to][w]-r.had[from][w]) / d
}
