package file

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
)

// lossy is a contract.Feed that keeps what was told lost.
type lossy struct {
	nowhere
	kinds map[uint16]uint64
	told  chan struct{}
}

func (l *lossy) Lost(kind uint16, n uint64) {
	if len(l.kinds) == 0 {
		close(l.told)
	}
	l.kinds[kind] += n
}

// TestOverflow fills the kernel's queue with nobody reading: that something is
// missing is told for every kind that may miss something.
func TestOverflow(t *testing.T) {
	needRoot(t)
	b, err := os.ReadFile("/proc/sys/fs/fanotify/max_queued_events")
	if err != nil {
		t.Skipf("this kernel does not tell how long the queue is: %v", err)
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || limit > 1<<17 {
		t.Skipf("a queue of %s is too long to be filled here", b)
	}
	n := newNotifier(0, slog.New(slog.DiscardHandler))
	if err := n.want([]event.Kind{event.KindFileCreate, event.KindFileDelete}); err != nil {
		t.Skipf("no fanotify that tells names on this kernel (Linux 5.17 has it): %v", err)
	}
	defer func() {
		if err := n.close(); err != nil {
			t.Error(err)
		}
	}()
	dir := tempDir(t)
	for i := range limit/2 + 100 { // two notifications each
		p := filepath.Join(dir, fmt.Sprint(i))
		fd, err := unix.Open(p, unix.O_CREAT|unix.O_WRONLY, 0o600)
		other := errors.Join(err, unix.Close(fd), os.Rename(p, p+"r"), unix.Unlink(p+"r"))
		if other != nil {
			t.Fatal(other)
		}
	}
	l := &lossy{kinds: map[uint16]uint64{}, told: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- n.run(ctx, l) }()
	select {
	case <-l.told:
	case <-time.After(20 * time.Second):
		t.Error("the queue was full, and nobody told")
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for _, k := range []fileEventKind{fileEventKindKIND_FILE_CREATE, fileEventKindKIND_FILE_DELETE} {
		if l.kinds[uint16(k)] == 0 {
			t.Errorf("no loss of kind %d told: %v", k, l.kinds)
		}
	}
	if len(l.kinds) != 2 {
		t.Errorf("losses of kinds that nobody asked for: %v", l.kinds)
	}
}
