package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"time"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
	"github.com/merlon/merlon/internal/ring"
	"github.com/merlon/merlon/internal/sensors/process"
)

// template is one real record, and where in it the process's identity is.
type template struct {
	rec        []byte
	kind       uint16     // of the record
	of         event.Kind // what it becomes
	bulk       bool
	decode     decode
	pid, start int // offsets; start is -1 in records that don't tell it
}

type decode func(rec []byte, ev *event.Event) error

// scene is what records are captured from: acts, performed for real under a
// sensor.
type scene struct {
	kinds   []event.Kind // one record each
	sensor  func(k *kernel.Kernel, log *slog.Logger) contract.Sensor
	decoder func() contract.Decoder
	perform func(ctx context.Context) (pid uint32, err error)
	mine    func(*event.Event) bool // of the events of that process
	bulk    func(event.Kind) bool
}

// life is one process: its fork, exec and exit.
func life() scene {
	return scene{
		kinds:   []event.Kind{event.KindFork, event.KindExec, event.KindExit},
		sensor:  func(k *kernel.Kernel, log *slog.Logger) contract.Sensor { return process.New(k, log) },
		decoder: func() contract.Decoder { return process.NewDecoder() },
		// Dynamically linked, with an argument vector of a common length.
		perform: func(ctx context.Context) (uint32, error) {
			return spawn(ctx, "/bin/ls", "-l", "--color=never", "/etc/hostname", "/etc/passwd")
		},
		mine: func(*event.Event) bool { return true },
		bulk: func(k event.Kind) bool { return k == event.KindFork },
	}
}

// openOptions let the sensors try their hooks on a program that does nothing:
// by default it is the agent itself, which this binary is not.
func openOptions() kernel.Options { return kernel.Options{Canary: []string{"/bin/true"}} }

// capture performs a scene and returns its records as the sensor got them, in
// the order of the scene's kinds.
func capture(ctx context.Context, sc scene) ([]template, error) {
	ts, err := sc.capture(ctx)
	if err != nil {
		return nil, fmt.Errorf("capture records of %v: %w", sc.kinds, err)
	}
	return ts, nil
}

func (sc *scene) capture(ctx context.Context) (_ []template, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	k, err := kernel.Open(ctx, openOptions())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	sensor := sc.sensor(k, slog.New(slog.DiscardHandler))
	defer func() { err = errors.Join(err, sensor.Close()) }()
	if err := sensor.Attach(ctx, sc.kinds); err != nil {
		return nil, err
	}
	r, err := ring.New(ring.Options{Critical: k.Map("events_crit"), Bulk: k.Map("events_bulk"), State: k.Map("events_reader")})
	if err != nil {
		return nil, err
	}
	feed := ring.NewFeed(8 << 20)
	done := make(chan error, 2)
	go func() { done <- r.Run(ctx) }()
	go func() {
		if source, ok := sensor.(contract.Source); ok {
			done <- source.Run(ctx, feed)
			return
		}
		done <- nil
	}()
	time.Sleep(100 * time.Millisecond) // a source begins to read
	pid, err := sc.perform(ctx)
	if err != nil {
		cancel()
		return nil, errors.Join(err, <-done, <-done, r.Close())
	}
	found, err := sc.collect(ctx, sensor, pid, r.Batches(), feed.Batches())
	cancel()
	for range r.Batches() { // until Run has ended
	}
	return found, errors.Join(err, <-done, <-done, r.Close())
}

// collect waits for one record of every kind.
func (sc *scene) collect(ctx context.Context, sensor contract.Decoder, pid uint32, batches ...<-chan *ring.Batch) (_ []template, err error) {
	found, decoder := map[event.Kind]template{}, sc.decoder()
	take := func(b *ring.Batch) {
		if b == nil {
			return
		}
		b.Each(func(rec []byte) {
			var ev event.Event
			if sensor.Decode(rec, &ev) != nil || keyOf(&ev).PID != pid || !slices.Contains(sc.kinds, ev.Kind) || !sc.mine(&ev) {
				return
			}
			if _, old := found[ev.Kind]; old {
				return
			}
			t, terr := sc.template(rec, &ev, decoder.Decode)
			found[ev.Kind], err = t, errors.Join(err, terr)
		})
		b.Release()
	}
	for len(found) < len(sc.kinds) && ctx.Err() == nil {
		select {
		case b := <-batches[0]:
			take(b)
		case b := <-batches[1]:
			take(b)
		case <-ctx.Done():
		}
	}
	var list []template
	for _, k := range sc.kinds {
		t, ok := found[k]
		if !ok {
			return nil, errors.Join(err, fmt.Errorf("the sensor reported no %s of process %d within 30 s", k, pid))
		}
		list = append(list, t)
	}
	return list, err
}

func spawn(ctx context.Context, program string, args ...string) (uint32, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pid := cmd.Process.Pid
	_ = cmd.Wait() // how it ended is all the same
	return uint32(pid), nil
}

// keyOf is the process that an event is of, as its record tells it.
func keyOf(ev *event.Event) event.Key {
	if ev.Process != nil {
		return ev.Process.Key()
	}
	return event.Key{PID: ev.Thread.PID, Start: ev.Thread.Start}
}

// template finds the process's identity in a record by changing it, so that no
// offset of the wire format is kept by hand here.
func (sc *scene) template(rec []byte, ev *event.Event, decode decode) (template, error) {
	t := template{rec: bytes.Clone(rec), kind: binary.NativeEndian.Uint16(rec[8:]), of: ev.Kind, bulk: sc.bulk(ev.Kind), decode: decode}
	is := keyOf(ev)
	other := event.Key{PID: is.PID + 1, Start: is.Start - 1}
	t.pid = t.field(4, uint64(is.PID), uint64(other.PID), func(k event.Key) bool { return k.PID == other.PID })
	t.start = -1
	if is.Start != 0 {
		t.start = t.field(8, is.Start, other.Start, func(k event.Key) bool { return k.Start == other.Start })
	}
	if t.pid < 0 || is.Start != 0 && t.start < 0 {
		return t, fmt.Errorf("pid or start time not found in a %s record", ev.Kind)
	}
	return t, nil
}

// field returns the offset of the field that holds the value is and that
// moves the decoded process when it holds other; -1 when there is none.
func (t *template) field(size int, is, other uint64, moved func(event.Key) bool) int {
	for at := 0; at+size <= len(t.rec); at += 4 {
		if get(t.rec[at:], size) != is {
			continue
		}
		try := bytes.Clone(t.rec)
		put(try[at:], size, other)
		var ev event.Event
		if t.decode(try, &ev) == nil && moved(keyOf(&ev)) {
			return at
		}
	}
	return -1
}

func get(b []byte, size int) uint64 {
	if size == 4 {
		return uint64(binary.NativeEndian.Uint32(b))
	}
	return binary.NativeEndian.Uint64(b)
}

func put(b []byte, size int, v uint64) {
	if size == 4 {
		binary.NativeEndian.PutUint32(b, uint32(v))
		return
	}
	binary.NativeEndian.PutUint64(b, v)
}
