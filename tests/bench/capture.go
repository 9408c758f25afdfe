package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"time"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
	"github.com/merlon/merlon/internal/ring"
	"github.com/merlon/merlon/internal/sensors/process"
)

// template is one real record, and where in it the process's identity is.
type template struct {
	rec        []byte
	kind       uint16
	bulk       bool
	pid, start int // offsets
	args       int // bytes of an exec's argument vector
}

// life is one process: the records of its fork, exec and exit.
type life map[event.Kind]template

var lifeKinds = []event.Kind{event.KindFork, event.KindExec, event.KindExit}

// captured is the command that becomes the template: dynamically linked, with
// an argument vector of a common length.
var captured = []string{"/bin/ls", "-l", "--color=never", "/etc/hostname", "/etc/passwd"}

// capture runs a command under the process sensor and returns its records as
// the kernel wrote them.
func capture(ctx context.Context) (life, error) {
	l, err := captureLife(ctx)
	if err != nil {
		return nil, fmt.Errorf("capture a process: %w", err)
	}
	return l, nil
}

func captureLife(ctx context.Context) (_ life, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	k, err := kernel.Open(ctx, kernel.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	sensor := process.New(k, slog.New(slog.DiscardHandler))
	defer func() { err = errors.Join(err, sensor.Close()) }()
	if err := sensor.Attach(ctx, lifeKinds); err != nil {
		return nil, err
	}
	r, err := ring.New(ring.Options{Critical: k.Map("events_crit"), Bulk: k.Map("events_bulk"), State: k.Map("events_reader")})
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	pid, err := spawn(ctx)
	if err != nil {
		return nil, err
	}
	l := life{}
	for b := range r.Batches() {
		b.Each(func(rec []byte) {
			var ev event.Event
			if sensor.Decode(rec, &ev) != nil || ev.Process == nil || ev.Process.PID != pid {
				return
			}
			t, terr := newTemplate(rec, &ev)
			err = errors.Join(err, terr)
			if l[ev.Kind] = t; len(l) == len(lifeKinds) {
				cancel()
			}
		})
		b.Release()
	}
	if len(l) < len(lifeKinds) {
		err = errors.Join(err, fmt.Errorf("the sensor reported %d of %v within 30 s", len(l), lifeKinds))
	}
	return l, errors.Join(err, <-done, r.Close())
}

func spawn(ctx context.Context) (uint32, error) {
	cmd := exec.CommandContext(ctx, captured[0], captured[1:]...)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pid := cmd.Process.Pid
	_ = cmd.Wait() // how it ended is all the same
	return uint32(pid), nil
}

// newTemplate finds the process's identity in a record by changing it, so that
// no offset of the wire format is kept by hand here.
func newTemplate(rec []byte, ev *event.Event) (template, error) {
	t := template{rec: bytes.Clone(rec), kind: binary.NativeEndian.Uint16(rec[8:]), bulk: ev.Kind == event.KindFork}
	if ev.Exec != nil {
		t.args = int(ev.Exec.ArgsBytes)
	}
	p := ev.Process
	other := event.Key{PID: p.PID + 1, Start: p.Start - 1}
	t.pid = field(rec, 4, uint64(p.PID), uint64(other.PID), func(q *event.Process) bool { return q.PID == other.PID })
	t.start = field(rec, 8, p.Start, other.Start, func(q *event.Process) bool { return q.Start == other.Start })
	if t.pid < 0 || t.start < 0 {
		return t, fmt.Errorf("pid or start time not found in a %s record", ev.Kind)
	}
	return t, nil
}

// field returns the offset of the field that holds the value is and that
// moves the decoded process when it holds other; -1 when there is none.
func field(rec []byte, size int, is, other uint64, moved func(*event.Process) bool) int {
	for at := 0; at+size <= len(rec); at += 4 {
		if get(rec[at:], size) != is {
			continue
		}
		try := bytes.Clone(rec)
		put(try[at:], size, other)
		var ev event.Event
		if process.NewDecoder().Decode(try, &ev) == nil && moved(ev.Process) {
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
