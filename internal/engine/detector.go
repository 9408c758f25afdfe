package engine

import (
	"runtime/debug"
	"time"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
)

// maxPanics is how many times a detector may panic before it is switched off.
const maxPanics = 3

// detector is a plug-in with its books. Run's goroutine uses it.
type detector struct {
	contract.Detector
	found func(event.Finding)
	tally detectorTally
}

type detectorTally struct {
	events, findings, panics uint64
	timed                    uint64 // events for which the time was taken
	spent                    time.Duration
	off                      bool
}

func newDetector(d contract.Detector, findings func(event.Finding)) *detector {
	det := &detector{Detector: d}
	det.found = func(f event.Finding) {
		det.tally.findings++
		findings(f)
	}
	return det
}

// detect calls one detector.
//
// It recovers from panics, which nothing else in Merlon but decode does:
// detectors evaluate rules over bytes that an attacker chooses, some of them
// rules that an administrator wrote. A crash that input can cause would switch
// off all of the host's protection; without recover one bad rule is a way to
// blind the agent. The detector has lost at most this one event, is told by
// name, and is switched off when it happens again and again. Enrichers and
// sinks get no such net: after a panic in one of them the agent would go on
// with a wrong picture of the host.
func (e *Engine) detect(d *detector, ev *event.Event, timed bool) {
	t := &d.tally
	if t.off {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			e.panicked(d, p)
		}
	}()
	t.events++
	if !timed {
		d.Detect(ev, d.found)
		return
	}
	start := time.Now()
	d.Detect(ev, d.found)
	t.spent += time.Since(start)
	t.timed++
}

func (e *Engine) panicked(d *detector, p any) {
	t := &d.tally
	t.panics++
	t.off = t.panics >= maxPanics
	e.log.Error("detector panicked", "detector", d.Name(), "panic", p, "times", t.panics, "switched_off", t.off,
		"stack", string(debug.Stack()))
}
