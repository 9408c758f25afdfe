package process

import (
	"sync/atomic"
	"time"
)

const (
	guardPatience = 200 * time.Millisecond
	guardStuck    = 4 // reads that may hang at a time
)

// guard bounds reads of /proc that a process can stall: its argument vector or
// its binary may lie on a file system that it serves itself (FUSE), and then
// the kernel waits for it. Such a read is left to its goroutine, which ends
// when the kernel lets go; with guardStuck of them hanging no more are begun.
type guard struct {
	stuck atomic.Int32
}

// guarded runs read and returns its result; false when it took too long or
// wasn't begun.
func guarded[T any](g *guard, read func() T) (T, bool) {
	var none T
	if g.stuck.Load() >= guardStuck {
		return none, false
	}
	done := make(chan T, 1)
	go func() { done <- read() }()
	timer := time.NewTimer(guardPatience)
	defer timer.Stop()
	select {
	case v := <-done:
		return v, true
	case <-timer.C:
	}
	g.stuck.Add(1)
	go func() {
		<-done
		g.stuck.Add(-1)
	}()
	return none, false
}
