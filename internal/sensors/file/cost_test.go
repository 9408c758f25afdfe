package file

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

// nowhere is a contract.Feed that counts.
type nowhere struct{ put, lost int }

func (n *nowhere) Put([]byte) bool         { n.put++; return true }
func (n *nowhere) Flush()                  {}
func (n *nowhere) Lost(_ uint16, c uint64) { n.lost += int(c) }

// BenchmarkCycle is a file's create, write, close and unlink, by turns without
// the sensor and with all of its kinds.
func BenchmarkCycle(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	k, err := kernel.Open(context.Background(), kernel.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	s := New(k, Options{Log: slog.New(slog.DiscardHandler)})
	defer s.Close()
	s.Probe(context.Background())
	path := filepath.Join(b.TempDir(), "f")
	b.Logf("tier %s", s.tiers[event.KindFileCreate])
	cycle := func(b *testing.B) {
		for b.Loop() {
			fd, err := unix.Open(path, unix.O_CREAT|unix.O_WRONLY, 0o600)
			if err == nil {
				_, err = unix.Write(fd, []byte("x"))
			}
			if err := errors.Join(err, unix.Close(fd), unix.Unlink(path)); err != nil {
				b.Fatal(err)
			}
		}
	}
	for i := range 5 {
		for _, with := range []bool{false, true} {
			b.Run(fmt.Sprintf("with=%v/%d", with, i), func(b *testing.B) {
				var kinds []event.Kind
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan error, 1)
				feed := &nowhere{}
				if with {
					kinds = s.Info().Kinds
				}
				if err := s.Attach(ctx, kinds); err != nil {
					b.Fatal(err)
				}
				go func() { done <- s.Run(ctx, feed) }()
				cycle(b)
				cancel()
				if err := <-done; err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(feed.put)/float64(b.N), "records/op")
				b.ReportMetric(float64(feed.lost), "overflows")
			})
		}
	}
}

// BenchmarkMountGap is how long acts on a new mount are not seen: from mount(2)
// to the first file that is told. Only fanotify has such a gap.
func BenchmarkMountGap(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	k, err := kernel.Open(context.Background(), kernel.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	s := New(k, Options{Log: slog.New(slog.DiscardHandler)})
	defer s.Close()
	if err := s.Attach(context.Background(), s.Info().Kinds); err != nil {
		b.Fatal(err)
	}
	if s.tiers[event.KindFileCreate] != tierFanotify {
		b.Skip("no gap: the hooks see every mount")
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, &nowhere{}) }()
	dir := b.TempDir()
	var total time.Duration
	for b.Loop() {
		if err := unix.Mount("gap", dir, "tmpfs", 0, "size=64k"); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			b.Fatal(err)
		}
		dev := unix.Major(st.Dev)<<20 | unix.Minor(st.Dev)
		for marked := false; !marked; {
			s.notes.mu.Lock()
			marked = s.notes.marked[dev] != 0
			s.notes.mu.Unlock()
		}
		total += time.Since(start)
		if err := unix.Unmount(dir, 0); errors.Is(err, unix.EBUSY) {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				b.Fatal(err)
			}
		} else if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(total.Microseconds())/float64(b.N), "us-gap")
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}
