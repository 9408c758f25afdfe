package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// MapStat describes a map of ours.
type MapStat struct {
	Unit       string `json:"unit"` // "shared" for the shared maps
	Name       string `json:"name"`
	Type       string `json:"type"`
	ID         uint32 `json:"id"`
	MaxEntries uint32 `json:"max_entries"` // bytes for a ring
	Entries    int64  `json:"entries"`     // in use: entries of a hash, unread bytes of a ring; -1 where counting is not cheap
	Bytes      uint64 `json:"bytes"`       // what the kernel charges for it
}

// countable is the size of the largest hash that is counted, in bytes of keys
// and values.
const countable = 16 << 20

// Maps describes every map of ours, shared ones first.
func (k *Kernel) Maps() []MapStat {
	var stats []MapStat
	for _, name := range sortedKeys(k.shared) {
		stats = append(stats, mapStat("shared", name, k.shared[name]))
	}
	for _, u := range k.list() {
		stats = append(stats, u.mapStats()...)
	}
	return stats
}

func (u *Unit) mapStats() []MapStat {
	u.mu.Lock()
	defer u.mu.Unlock()
	var stats []MapStat
	for _, name := range sortedKeys(u.maps) {
		if s := u.k.shared[name]; s == nil || !sameMap(s, u.maps[name]) {
			stats = append(stats, mapStat(u.name, name, u.maps[name]))
		}
	}
	return stats
}

func mapStat(unit, name string, m *ebpf.Map) MapStat {
	s := MapStat{Unit: unit, Name: name, Type: m.Type().String(), MaxEntries: m.MaxEntries(), Entries: -1}
	if info, err := m.Info(); err == nil {
		id, _ := info.ID()
		s.ID = uint32(id)
		s.Bytes, _ = info.Memlock()
	}
	if s.Bytes == 0 { // rings tell their size since Linux 6.4
		s.Bytes = uint64(m.MaxEntries()) * uint64(max(1, m.KeySize()+m.ValueSize()))
	}
	var n int64
	var err error = errors.ErrUnsupported
	switch m.Type() {
	case ebpf.RingBuf:
		n, err = ringFill(m)
	case ebpf.Hash, ebpf.LRUHash:
		if uint64(m.MaxEntries())*uint64(m.KeySize()+m.ValueSize()) <= countable {
			n, err = countEntries(m)
		}
	}
	if err == nil {
		s.Entries = n
	}
	return s
}

// countEntries counts in batches, a few hundred system calls at most.
func countEntries(m *ebpf.Map) (int64, error) {
	batch := max(64, min(1024, (1<<20)/int(m.KeySize()+m.ValueSize())))
	keys, values := elements(batch, m.KeySize()), elements(batch, m.ValueSize())
	var cursor ebpf.MapBatchCursor
	var total int64
	for range int(m.MaxEntries())/batch + 8 { // ends though others insert meanwhile
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		total += int64(n)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return total, nil
		}
		if err != nil {
			return 0, fmt.Errorf("count entries: %w", err)
		}
	}
	return total, nil
}

// elements makes a slice of n byte arrays of that size.
func elements(n int, size uint32) any {
	return reflect.MakeSlice(reflect.SliceOf(reflect.ArrayOf(int(size), reflect.TypeFor[byte]())), n, n).Interface()
}

// ringFill returns the unread bytes of a ring: its producer's position less
// its consumer's, one page each before the data (kernel/bpf/ringbuf.c).
func ringFill(m *ebpf.Map) (int64, error) {
	page := os.Getpagesize()
	consumer, err := position(m, 0, page)
	if err != nil {
		return 0, err
	}
	producer, err := position(m, page, page)
	if err != nil {
		return 0, err
	}
	return int64(producer - consumer), nil
}

func position(m *ebpf.Map, offset, size int) (uint64, error) {
	b, err := unix.Mmap(m.FD(), int64(offset), size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, fmt.Errorf("map ring: %w", err)
	}
	defer func() { _ = unix.Munmap(b) }() // can't fail on what Mmap returned
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&b[0]))), nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
