package engine

import (
	"time"

	"golang.org/x/sys/unix"
)

// clock tells nanoseconds since boot, suspend included, as records do
// (CLOCK_BOOTTIME, bpf_ktime_get_boot_ns). Go reads only the monotonic clock
// without a system call; the two differ by the time spent suspended, which
// sync takes up again.
type clock struct {
	base time.Time
	boot uint64 // at base
}

func newClock() clock {
	var c clock
	c.sync()
	return c
}

func (c *clock) sync() {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return // the kernel has this clock since 2.6.39
	}
	c.base, c.boot = time.Now(), uint64(ts.Nano())
}

func (c *clock) now() uint64 { return c.boot + uint64(time.Since(c.base)) }
