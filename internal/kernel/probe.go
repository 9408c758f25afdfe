package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
)

// awaitDeadline is how long a canary waits for a record: much longer than any
// kernel needs, short enough to bear when a hook is dead.
const awaitDeadline = 2 * time.Second

// keptRecords bounds the records that a Probe keeps for a later Await.
const keptRecords = 4096

// Probe is a canary's view of the hook under test. One goroutine uses it.
type Probe struct {
	k     *Kernel
	u     *Unit
	rings []*ringbuf.Reader
	kept  [][]byte // read and not matched yet
}

func newProbe(k *Kernel, u *Unit) (*Probe, error) {
	p := &Probe{k: k, u: u}
	for _, name := range sortedKeys(u.maps) {
		if u.maps[name].Type() != ebpf.RingBuf {
			continue
		}
		r, err := ringbuf.NewReader(u.maps[name])
		if err != nil {
			p.close()
			return nil, fmt.Errorf("read ring %s: %w", name, err)
		}
		p.rings = append(p.rings, r)
	}
	return p, nil
}

func (p *Probe) close() {
	for _, r := range p.rings {
		_ = r.Close() // only unmaps
	}
}

// Unit returns the loaded and attached programs under test, with rings and
// maps of their own. It is closed after the canary.
func (p *Probe) Unit() *Unit { return p.u }

// RunCanary forks, executes the canary command of Options and waits for its
// end. It returns the child's pid in the initial pid namespace, which is what
// records carry. The command's exit status does not matter.
func (p *Probe) RunCanary(ctx context.Context) (pid int, err error) {
	argv := p.k.opts.Canary
	if len(argv) == 0 {
		return 0, errors.New("run canary: no command is given (Options.Canary)")
	}
	return p.k.runChild(ctx, func() (*exec.Cmd, error) {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
		return cmd, nil
	})
}

// Await reads the private rings until a record of that kind matches, and fails
// after 2 s. Records that do not match are kept for later calls. rec holds the
// whole record, header included, and is valid during the call only.
func (p *Probe) Await(ctx context.Context, kind uint16, match func(rec []byte) bool) error {
	matches := func(rec []byte) bool { return kindOf(rec) == kind && match(rec) }
	for i, rec := range p.kept {
		if matches(rec) {
			p.kept = append(p.kept[:i], p.kept[i+1:]...)
			return nil
		}
	}
	var rec ringbuf.Record
	for deadline := time.Now().Add(awaitDeadline); ctx.Err() == nil && time.Now().Before(deadline); {
		for _, r := range p.rings {
			r.SetDeadline(time.Now().Add(2 * time.Millisecond))
			for {
				if err := r.ReadInto(&rec); errors.Is(err, os.ErrDeadlineExceeded) {
					break
				} else if err != nil {
					return fmt.Errorf("read ring: %w", err)
				}
				if matches(rec.RawSample) {
					return nil
				}
				if len(p.kept) < keptRecords {
					p.kept = append(p.kept, append([]byte(nil), rec.RawSample...))
				}
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("await record: %w", err)
	}
	return &canaryError{cause: fmt.Sprintf("attached, but no record of the canary came within %v (%d others did)", awaitDeadline, len(p.kept))}
}

// kindOf reads the kind in a record's header (struct event_hdr).
func kindOf(rec []byte) uint16 {
	var h sharedEventHdr
	if len(rec) < int(unsafe.Sizeof(h)) {
		return 0
	}
	return binary.NativeEndian.Uint16(rec[unsafe.Offsetof(h.Kind):])
}
