// Package ringtest feeds records of the caller's choice into real BPF rings,
// as fast as the kernel can, with the books kept as the product's hooks keep
// them (bpf/lib/event.h). It is for tests and benchmarks only, which is why it
// loads its BPF by itself and not through internal/kernel.
package ringtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../../../bpf/include -I../../../bpf/lib" feed feed.bpf.c

// HeaderSize is the size of struct event_hdr.
const HeaderSize = 16

// Record is a template: what is sent each time it is its turn. Time and CPU in
// its header are overwritten as a hook would set them.
type Record struct {
	Kind uint16
	Bulk bool   // goes to the bulk ring, not to the critical one
	Data []byte // header included, at most 32 KiB
}

// Make returns a record with a header and a body of n bytes.
func Make(kind uint16, bulk bool, n int) Record {
	r := Record{Kind: kind, Bulk: bulk, Data: make([]byte, HeaderSize+n)}
	binary.NativeEndian.PutUint16(r.Data[8:], kind)
	for i := range n {
		r.Data[HeaderSize+i] = byte(i)
	}
	return r
}

// Count is the kernel's book of one kind.
type Count struct{ Produced, Lost uint64 }

// Feeder owns two rings and the program that fills them.
type Feeder struct {
	Critical, Bulk *ebpf.Map
	State          *ebpf.Map
	coll           *ebpf.Collection
}

// Open makes the rings, of sizes that are powers of two and multiples of the
// page size. The test is skipped where BPF may not be used; the Feeder is
// closed at its end.
func Open(tb testing.TB, critical, bulk int) *Feeder {
	tb.Helper()
	f, err := open(critical, bulk)
	if os.Geteuid() != 0 && errors.Is(err, os.ErrPermission) {
		tb.Skip("needs CAP_BPF: run as root")
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(f.coll.Close)
	return f
}

func open(critical, bulk int) (*Feeder, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("remove memlock limit: %w", err)
	}
	spec, err := loadFeed()
	if err != nil {
		return nil, fmt.Errorf("read feed program: %w", err)
	}
	spec.Maps["events_crit"].MaxEntries = uint32(critical)
	spec.Maps["events_bulk"].MaxEntries = uint32(bulk)
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("load feed program: %w", err)
	}
	return &Feeder{Critical: coll.Maps["events_crit"], Bulk: coll.Maps["events_bulk"], State: coll.Maps["events_reader"], coll: coll}, nil
}

// Set chooses the records that Feed sends in turn. Not while Feed runs.
func (f *Feeder) Set(records ...Record) error {
	cpus := ebpf.MustPossibleCPU()
	for i, r := range records {
		slot := feedFeedSlot{Size: uint32(len(r.Data)), Kind: r.Kind}
		if r.Bulk {
			slot.Ring = 1
		}
		if err := f.coll.Maps["feed_slots"].Put(uint32(i), slot); err != nil {
			return fmt.Errorf("set slot %d: %w", i, err)
		}
		var rec feedFeedRec
		if copy(rec.Data[:], r.Data) < len(r.Data) || len(r.Data) < HeaderSize {
			return fmt.Errorf("set record %d: %d bytes, want %d to %d", i, len(r.Data), HeaderSize, len(rec.Data))
		}
		all := make([]feedFeedRec, cpus)
		for c := range all {
			all[c] = rec
		}
		if err := f.coll.Maps["feed_recs"].Put(uint32(i), all); err != nil {
			return fmt.Errorf("set record %d: %w", i, err)
		}
	}
	all := make([]feedFeedConf, cpus)
	for c := range all {
		all[c].Slots = uint32(len(records))
	}
	if err := f.coll.Maps["feed_conf"].Put(uint32(0), all); err != nil {
		return fmt.Errorf("set number of records: %w", err)
	}
	return nil
}

// Feed sends n records from that CPU, or some more when a signal interrupts
// it: what counts is Counts. Two calls at a time need different CPUs, since
// the books are kept per CPU and without atomics.
func (f *Feeder) Feed(cpu, n int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, only unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("read affinity: %w", err)
	}
	only.Set(cpu)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return fmt.Errorf("move to CPU %d: %w", cpu, err)
	}
	defer func() { _ = unix.SchedSetaffinity(0, &before) }()
	// BPF_PROG_RUN of a socket filter wants an Ethernet frame.
	_, err := f.coll.Programs["feed"].Run(&ebpf.RunOptions{Data: make([]byte, 64), Repeat: uint32(n)})
	if err != nil {
		return fmt.Errorf("feed records: %w", err)
	}
	return nil
}

// Counts returns the kernel's books, by wire kind, without kinds never
// produced. They are exact once Feed has returned.
func (f *Feeder) Counts() (map[uint16]Count, error) {
	counts := make(map[uint16]Count)
	m := f.coll.Maps["event_counts"]
	for k := range m.MaxEntries() {
		var cpus []feedEventCount
		if err := m.Lookup(k, &cpus); err != nil {
			return nil, fmt.Errorf("read counts of kind %d: %w", k, err)
		}
		var c Count
		for _, one := range cpus {
			c.Produced += one.Produced
			for _, n := range one.Lost {
				c.Lost += n
			}
		}
		if c.Produced != 0 {
			counts[uint16(k)] = c
		}
	}
	return counts, nil
}
