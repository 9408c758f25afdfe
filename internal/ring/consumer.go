package ring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// The layout of a BPF ring buffer (kernel/bpf/ringbuf.c): one page with the
// consumer's position, one with the producers', then the data, mapped twice in
// a row so that no record is ever split. Each record has an 8-byte header
// whose first word is its length and two flags.
const (
	prefixSize = 8
	busyBit    = 1 << 31
	discardBit = 1 << 30
)

// headerSize is the size of struct event_hdr (bpf/lib/event.h), with which
// every record starts: time u64, kind u16, flags u16, cpu u32.
const headerSize = 16

// state says what is at the head of a ring.
type state int

const (
	empty state = iota // nothing before the limit
	busy               // a record that its producer has not finished
	ready              // a record
)

// consumer reads one mapped BPF ring buffer. One goroutine uses it.
type consumer struct {
	cons, prod []byte  // the two mappings
	data       []byte  // prod without its first page
	consPos    *uint64 // written by us: everything before it is free again
	prodPos    *uint64 // written by the kernel: everything before it is reserved
	mask       uint64

	pos  uint64 // our position; consPos follows it at publish
	next uint64 // position after the record at the head
	rec  []byte // the record at the head, in the mapping; nil when not looked at
	time uint64 // its time
}

// newConsumer maps the ring buffer m. The kernel allows one consumer for a
// ring, and does not check it.
func newConsumer(m *ebpf.Map) (*consumer, error) {
	if m.Type() != ebpf.RingBuf {
		return nil, fmt.Errorf("map %v: not a ring buffer", m)
	}
	page, size := os.Getpagesize(), int(m.MaxEntries())
	cons, err := unix.Mmap(m.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map consumer page of %v: %w", m, err)
	}
	prod, err := unix.Mmap(m.FD(), int64(page), page+2*size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		_ = unix.Munmap(cons)
		return nil, fmt.Errorf("map data pages of %v: %w", m, err)
	}
	c := &consumer{
		cons: cons, prod: prod, data: prod[page:],
		consPos: (*uint64)(unsafe.Pointer(&cons[0])),
		prodPos: (*uint64)(unsafe.Pointer(&prod[0])),
		mask:    uint64(size - 1),
	}
	c.pos = atomic.LoadUint64(c.consPos)
	return c, nil
}

func (c *consumer) close() error {
	return errors.Join(unix.Munmap(c.prod), unix.Munmap(c.cons))
}

// end returns the position up to which records are reserved at this moment.
func (c *consumer) end() uint64 { return atomic.LoadUint64(c.prodPos) }

// peek looks at the head of the ring, as far as limit. Discarded records are
// passed over.
func (c *consumer) peek(limit uint64) (state, error) {
	for c.pos < limit {
		if c.rec != nil {
			return ready, nil
		}
		// Pairs with the producer's xchg of the length in bpf_ringbuf_commit:
		// once the busy bit is gone, the record is all there.
		word := atomic.LoadUint32((*uint32)(unsafe.Pointer(&c.data[c.pos&c.mask])))
		if word&busyBit != 0 {
			return busy, nil
		}
		n := uint64(word &^ (busyBit | discardBit))
		c.next = c.pos + prefixSize + (n+7)&^7
		if c.next > limit {
			return empty, fmt.Errorf("read ring: record of %d bytes at %d ends after the producer's %d", n, c.pos, limit)
		}
		if word&discardBit != 0 {
			c.pos = c.next
			continue
		}
		start := c.pos&c.mask + prefixSize
		c.rec = c.data[start : start+n : start+n]
		c.time = 0
		if n >= headerSize {
			c.time = binary.NativeEndian.Uint64(c.rec)
		}
		return ready, nil
	}
	return empty, nil
}

// kind returns the wire kind of the record at the head, 0 when it has none.
func (c *consumer) kind() uint16 {
	if len(c.rec) < headerSize {
		return 0
	}
	return binary.NativeEndian.Uint16(c.rec[8:]) % maxKinds
}

// advance passes over the record at the head.
func (c *consumer) advance() { c.pos, c.rec = c.next, nil }

// publish gives the space of all records passed over back to the producers.
// The store comes before any later load of prodPos (both are sequentially
// consistent): a producer that commits afterwards sees that we have caught up
// and wakes us, or we see its record; see bpf_ringbuf_commit.
func (c *consumer) publish() { atomic.StoreUint64(c.consPos, c.pos) }
