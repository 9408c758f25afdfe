package kernel_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/kernel"
)

func TestClock(t *testing.T) {
	var ts unix.Timespec
	before := time.Now()
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		t.Fatal(err)
	}
	var c kernel.Clock
	now := c.Wall(uint64(ts.Nano()))
	after := time.Now()
	// A step of the wall clock in between would take this apart; it is told then.
	if now.Before(before.Add(-after.Sub(before))) || now.After(after) {
		t.Errorf("boot clock %d is %v, between %v and %v", ts.Nano(), now, before, after)
	}
	if d := c.Wall(uint64(ts.Nano()) + 1e9).Sub(now); d < 990*time.Millisecond || d > 1010*time.Millisecond {
		t.Errorf("a second later is %v later", d)
	}
}
