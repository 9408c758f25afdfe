package kernel

import (
	"time"

	"golang.org/x/sys/unix"
)

// Clock turns nanoseconds since boot into wall-clock time. The offset between
// the two is read anew for every second of events, so that it follows steps of
// the wall clock. The zero value is ready; one goroutine uses it.
type Clock struct {
	offset int64  // wall clock minus boot clock, ns
	until  uint64 // boot time up to which offset holds
}

// Wall returns the wall-clock time of an instant in nanoseconds since boot.
func (c *Clock) Wall(boot uint64) time.Time {
	if boot >= c.until || c.until-boot > 2*uint64(time.Second) {
		c.offset = time.Now().UnixNano() - int64(BootTime())
		c.until = boot + uint64(time.Second)
	}
	return time.Unix(0, int64(boot)+c.offset)
}

// BootTime returns nanoseconds since boot, suspend included, as
// bpf_ktime_get_boot_ns does. CLOCK_BOOTTIME is there since Linux 2.6.39 and
// fails for no valid pointer (clock_gettime(2)).
func BootTime() uint64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return uint64(ts.Nano())
}
