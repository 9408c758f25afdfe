package engine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
)

// The stages at which records are lost.
const (
	stageKernel = "kernel"
	stageQueue  = "queue"
	stageDecode = "decode"
)

// Reasons why a record was not decoded, indices of kindTally.failed.
const (
	failUnknown   = iota // no sensor knows its kind
	failMalformed        // the sensor refused it
	failPanic            // the sensor panicked
	failMax
)

var failNames = [failMax]string{"unknown_kind", "malformed", "panic"}

// tally is what Run's goroutine counts; settle shows it to Stats.
type tally struct {
	kinds     [maxKinds]kindTally
	detectors []detectorTally
	losses    uint64 // loss events published
	resyncs   uint64
	seedFails uint64
	lastSeed  time.Duration
	seedError string
}

// kindTally counts the records of one wire kind that arrived.
type kindTally struct {
	events     uint64 // published
	partial    uint64 // prepared a later one
	duplicates uint64 // told of something told before
	failed     [failMax]uint64
}

func (t *kindTally) delivered() uint64 { return t.events + t.partial + t.duplicates }

// settle shows the books to Stats. Called once a batch.
func (e *Engine) settle() {
	for i, d := range e.detectors {
		e.local.detectors[i] = d.tally
	}
	e.mu.Lock()
	mine := e.books.detectors
	e.books = e.local
	e.books.detectors = mine
	copy(mine, e.local.detectors)
	e.mu.Unlock()
}

// lossKey is one line of the book of losses.
type lossKey struct {
	wire          uint16
	stage, reason string
}

// lost lists the losses of all stages since the start.
func lost(t *tally, kernel map[uint16]KernelLoss, queue map[uint16]uint64) map[lossKey]uint64 {
	all := make(map[lossKey]uint64)
	for w, k := range kernel {
		for why, n := range k.Lost {
			all[lossKey{w, stageKernel, why}] = n
		}
	}
	for w, n := range queue {
		all[lossKey{w, stageQueue, "full"}] = n
	}
	for w := range t.kinds {
		for why, n := range t.kinds[w].failed {
			all[lossKey{uint16(w), stageDecode, failNames[why]}] = n
		}
	}
	maps.DeleteFunc(all, func(_ lossKey, n uint64) bool { return n == 0 })
	return all
}

// second is the work of each second: publish what was lost since the last
// time, and note the rates.
func (e *Engine) second() {
	e.clock.sync()
	e.now = e.clock.now()
	kernel, err := e.o.Counts()
	if err != nil && !e.blind {
		e.log.Error("kernel's books can't be read: losses in the kernel are not told", "err", err)
	}
	e.blind = err != nil
	now := lost(&e.local, kernel, e.o.Queue().Dropped)
	keys := slices.SortedFunc(maps.Keys(now), func(a, b lossKey) int {
		return cmp.Or(cmp.Compare(a.wire, b.wire), cmp.Compare(a.stage, b.stage), cmp.Compare(a.reason, b.reason))
	})
	for _, k := range keys {
		// A counter below its last value was read in the midst of a change.
		if n := now[k]; n > e.losses[k] {
			e.publishLoss(k, n-e.losses[k])
			e.losses[k] = n
			if _, seeds := e.wire[k.wire%maxKinds].sensor.(contract.Seeder); seeds { // else nobody can tell it anew
				e.resync.wanted = true
			}
		}
	}
	e.settle()
	e.lat.rotate(time.Now())
	e.mu.Lock()
	e.rates.note(&e.local)
	e.mu.Unlock()
}

func (e *Engine) publishLoss(k lossKey, n uint64) {
	e.local.losses++
	e.aux.Reset()
	e.aux.Time, e.aux.Boot, e.aux.Kind = time.Now(), e.now, event.KindLoss
	e.aux.Loss = &event.Loss{Of: e.kindOf(k.wire), Stage: k.stage, Reason: k.reason, Count: n}
	e.log.Warn("events lost", "of", e.aux.Loss.Of, "stage", k.stage, "reason", k.reason, "count", n)
	e.publish(&e.aux, e.byKind[event.KindLoss])
}

// kindOf names the events that records of kind w become.
func (e *Engine) kindOf(w uint16) event.Kind {
	if w < maxKinds && e.wire[w].sensor != nil {
		return e.wire[w].kind
	}
	return event.Kind("record_" + strconv.Itoa(int(w)))
}

// seedError says which sensor failed.
func seedError(name string, err error) error { return fmt.Errorf("seed from sensor %s: %w", name, err) }
