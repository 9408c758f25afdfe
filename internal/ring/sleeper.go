package ring

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// What the word in events_reader says: enum reader_state of bpf/lib/event.h.
const (
	readerNone   = 0
	readerAwake  = 1
	readerAsleep = 2
)

// sleeper tells the kernel side whether the next record must wake the reader.
type sleeper struct {
	page []byte
	word *uint64
}

func newSleeper(m *ebpf.Map) (*sleeper, error) {
	page, err := unix.Mmap(m.FD(), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %v: %w", m, err)
	}
	return &sleeper{page: page, word: (*uint64)(unsafe.Pointer(&page[0]))}, nil
}

// asleep asks for a wakeup. The store comes before any later load of a
// producer's position, so that a record sent before it is seen by who looks now.
func (s *sleeper) asleep() { atomic.StoreUint64(s.word, readerAsleep) }

// awake asks for none: the reader looks by itself.
func (s *sleeper) awake() { atomic.StoreUint64(s.word, readerAwake) }

// close leaves waking to the kernel, as for a reader that says nothing.
func (s *sleeper) close() error {
	atomic.StoreUint64(s.word, readerNone)
	return unix.Munmap(s.page)
}

// pace spreads the looks at the rings: lookBurst at once, then one in lookEvery.
type pace struct {
	next time.Time
	off  bool // tests: look at once, always
}

// pause returns how long to rest after a look at now that found so many bytes.
// Much of them shortens it, so that the next look finds no more than room.
func (p *pace) pause(now time.Time, found, room int) time.Duration {
	if early := now.Add(-lookBurst * lookEvery); p.next.Before(early) {
		p.next = early
	}
	p.next = p.next.Add(lookEvery)
	d := p.next.Sub(now)
	if d <= 0 || p.off {
		return 0
	}
	if found > room/4 {
		d = min(d, lookEvery*time.Duration(room)/time.Duration(4*found))
	}
	return d
}
