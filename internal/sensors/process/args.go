package process

import (
	"fmt"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/record"
)

// maxPending bounds the argument vectors whose exec record is still to come;
// each is at most 104 KiB.
const maxPending = 32

// parts holds continuation records: the kernel sends them ahead of the exec
// record that they belong to.
type parts struct {
	byKey map[event.Key]*argParts
	begun uint64
}

type argParts struct {
	bytes []byte
	next  uint32 // number of the part to come
	gap   bool
	begun uint64 // orders the vectors by age
}

func (p *parts) add(rec []byte) error {
	r, rest, err := record.View[processArgsRec](rec)
	if err != nil {
		return err
	}
	if int(r.Len) > len(rest) {
		return fmt.Errorf("decode args record: %d bytes of text, want %d", len(rest), r.Len)
	}
	key := event.Key{PID: r.Pid, Start: r.Start}
	a := p.byKey[key]
	if a == nil || r.Part == 1 {
		if a == nil && len(p.byKey) >= maxPending {
			p.forgetOldest() // its exec record was lost
		}
		p.begun++
		a = &argParts{next: 1, begun: p.begun}
		p.byKey[key] = a
	}
	if r.Part != a.next {
		a.gap = true
	} else if !a.gap {
		a.bytes = append(a.bytes, rest[:r.Len]...)
		a.next++
	}
	return contract.ErrPartial
}

// take returns the bytes that follow the head of the argument vector, and
// whether all of the n parts were there.
func (p *parts) take(key event.Key, n uint32) (more []byte, whole bool) {
	a := p.byKey[key]
	if a == nil {
		return nil, n == 0
	}
	delete(p.byKey, key)
	return a.bytes, !a.gap && a.next == n+1
}

func (p *parts) forget(key event.Key) {
	if len(p.byKey) > 0 {
		delete(p.byKey, key)
	}
}

func (p *parts) forgetOldest() {
	var oldest event.Key
	begun := p.begun + 1
	for key, a := range p.byKey {
		if a.begun < begun {
			oldest, begun = key, a.begun
		}
	}
	delete(p.byKey, oldest)
}

// splitArgs cuts a NUL-separated vector into its strings. A last string
// without its NUL is kept.
func splitArgs(dst []event.Text, s string) []event.Text {
	for from := 0; from < len(s); {
		to := from
		for to < len(s) && s[to] != 0 {
			to++
		}
		dst = append(dst, event.Text(s[from:to]))
		from = to + 1
	}
	return dst
}

func countArgs(b []byte) int {
	n := 0
	for _, c := range b {
		if c == 0 {
			n++
		}
	}
	if len(b) > 0 && b[len(b)-1] != 0 {
		n++
	}
	return n
}
