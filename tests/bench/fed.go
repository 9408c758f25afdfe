package main

import (
	"context"
	"encoding/binary"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/ring/ringtest"
	"github.com/merlon/merlon/internal/sensors/process"
)

// stream says which processes the records are about.
type stream string

const (
	// known: each exec is of one of 30,000 processes that run; this is what an
	// exec is, since its fork was told before.
	known stream = "known"
	// fresh: each exec is of a process never heard of, as when every fork was
	// lost: the tree is full, and each event costs an eviction too.
	fresh stream = "fresh"
	// lives: fork, exec and exit of one new process after the other.
	lives stream = "lives"
)

const running = 30_000 // processes at a time, and pids used in turn

// fed is the process sensor, fed with copies of a few records. Pid and start
// time of each are changed on the way.
type fed struct {
	*process.Decoder
	life   life
	wire   [64]*template // life by record kind
	kinds  [64]event.Kind
	stream stream
	base   uint64 // start time of the first process
	n      uint64
	buf    []byte
}

func newFed(l life, s stream) *fed {
	t := l[event.KindExec]
	f := &fed{Decoder: process.NewDecoder(), life: l, stream: s, base: get(t.rec[t.start:], 8)}
	for k, t := range l {
		f.wire[t.kind%64], f.kinds[t.kind%64] = &t, k
		f.buf = make([]byte, max(len(f.buf), len(t.rec)))
	}
	return f
}

// records are what the rings get in turn.
func (f *fed) records() []ringtest.Record {
	kinds := []event.Kind{event.KindExec}
	if f.stream == lives {
		kinds = lifeKinds
	}
	var recs []ringtest.Record
	for _, k := range kinds {
		t := f.life[k]
		recs = append(recs, ringtest.Record{Kind: t.kind, Bulk: t.bulk, Data: t.rec})
	}
	return recs
}

// key is the process that the next record is about.
func (f *fed) key(k event.Kind) event.Key {
	i := f.n
	if f.stream != lives || k == event.KindExit {
		f.n++
	}
	pid := uint32(100_000 + i%running)
	if f.stream == known {
		return event.Key{PID: pid, Start: f.base + uint64(pid)}
	}
	return event.Key{PID: pid, Start: f.base + i}
}

// Info implements contract.Sensor.
func (f *fed) Info() contract.SensorInfo {
	wire := map[uint16]event.Kind{}
	for k, t := range f.life {
		wire[t.kind] = k
	}
	return contract.SensorInfo{Name: "process", Wire: wire, Kinds: lifeKinds}
}

// Probe implements contract.Sensor: nothing is in the kernel but the feeder.
func (f *fed) Probe(context.Context) []event.Feature { return nil }

// Attach implements contract.Sensor.
func (f *fed) Attach(context.Context, []event.Kind) error { return nil }

// Close implements contract.Sensor.
func (f *fed) Close() error { return nil }

// Decode makes the record that of another process, and decodes it.
func (f *fed) Decode(rec []byte, ev *event.Event) error {
	w := binary.NativeEndian.Uint16(rec[8:]) % 64
	t := f.wire[w]
	buf := f.buf[:copy(f.buf, rec)]
	key := f.key(f.kinds[w])
	put(buf[t.pid:], 4, uint64(key.PID))
	put(buf[t.start:], 8, key.Start)
	return f.Decoder.Decode(buf, ev)
}
