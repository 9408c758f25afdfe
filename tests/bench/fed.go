package main

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/ring/ringtest"
)

// stream says which records there are, and which processes they are about.
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

// fed is a sensor that is fed with copies of a few records. Pid and start time
// of each are changed on the way.
type fed struct {
	stream stream
	life   []template     // fork, exec, exit
	acts   []template     // of a stream of other records: of running processes
	wire   [128]*template // by record kind
	base   uint64         // start time of the first process
	n      uint64
	buf    []byte
}

// captureFed captures what the stream is made of.
func captureFed(ctx context.Context, s stream) (*fed, error) {
	l, err := capture(ctx, life())
	if err != nil {
		return nil, err
	}
	f := &fed{stream: s, life: l, base: get(l[1].rec[l[1].start:], 8)}
	if sc, ok := scenes()[s]; ok {
		if f.acts, err = capture(ctx, sc); err != nil {
			return nil, err
		}
	}
	for _, list := range [][]template{f.life, f.acts} {
		for i := range list {
			t := &list[i]
			w := t.kind % uint16(len(f.wire))
			if old := f.wire[w]; old != nil && old.of != t.of {
				return nil, fmt.Errorf("feed records: %s and %s come as records of one kind", old.of, t.of)
			}
			f.wire[w] = t
			f.buf = make([]byte, max(len(f.buf), len(t.rec)))
		}
	}
	return f, nil
}

// first are the records that fill the tree, records those to be measured.
func (f *fed) first() []ringtest.Record { return records(f.life[1:2]) }

func (f *fed) records() []ringtest.Record {
	switch {
	case f.stream == lives:
		return records(f.life)
	case f.acts != nil:
		return records(f.acts)
	}
	return f.first()
}

func records(ts []template) (recs []ringtest.Record) {
	for _, t := range ts {
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
	if f.stream == fresh || f.stream == lives {
		return event.Key{PID: pid, Start: f.base + i}
	}
	return event.Key{PID: pid, Start: f.base + uint64(pid)}
}

// Info implements contract.Sensor.
func (f *fed) Info() contract.SensorInfo {
	info := contract.SensorInfo{Name: "fed", Wire: map[uint16]event.Kind{}}
	for _, t := range f.wire {
		if t != nil {
			info.Wire[t.kind] = t.of
			info.Kinds = append(info.Kinds, t.of)
		}
	}
	return info
}

// Probe implements contract.Sensor: nothing is in the kernel but the feeder.
func (f *fed) Probe(context.Context) []event.Feature { return nil }

// Attach implements contract.Sensor.
func (f *fed) Attach(context.Context, []event.Kind) error { return nil }

// Close implements contract.Sensor.
func (f *fed) Close() error { return nil }

// Decode makes the record that of another process, and decodes it.
func (f *fed) Decode(rec []byte, ev *event.Event) error {
	t := f.wire[binary.NativeEndian.Uint16(rec[8:])%uint16(len(f.wire))]
	buf := f.buf[:copy(f.buf, rec)]
	key := f.key(t.of)
	put(buf[t.pid:], 4, uint64(key.PID))
	if t.start >= 0 {
		put(buf[t.start:], 8, key.Start)
	}
	return t.decode(buf, ev)
}
