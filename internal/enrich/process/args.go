package process

import (
	"strings"

	"github.com/merlon/merlon/internal/event"
)

const (
	argsKept   = 4 << 10 // bytes of an argument vector that a node keeps
	argsScarce = 256     // the same when the tree holds too many
	argsMany   = 512     // arguments that a node keeps
	argHeader  = 16      // what an argument costs beside its bytes
)

// keep cuts p.Args to what a node keeps and returns what that costs in bytes.
// A vector that is cut is copied, and so is what else p may share with its
// record, so that p does not hold on to 128 KiB.
func (t *Tree) keep(p *event.Process) (cost int) {
	limit := argsKept
	if t.argBytes >= t.opt.ArgsBytes {
		limit = argsScarce
	}
	size, n := 0, 0
	for ; n < len(p.Args) && n < argsMany && size+len(p.Args[n]) <= limit; n++ {
		size += len(p.Args[n])
	}
	if n == len(p.Args) {
		p.Args = p.Args[:n:n] // Exec.Args may share the array
		return size + n*argHeader
	}
	if limit == argsScarce {
		t.counters.argsDenied.Add(1)
	}
	kept := make([]event.Text, 0, n+1)
	for _, a := range p.Args[:n] {
		kept = append(kept, own(a))
	}
	if rest := min(limit-size, len(p.Args[n])); n < argsMany && rest > 0 {
		kept = append(kept, own(p.Args[n][:rest]))
		size += rest
	}
	p.Args, p.Exe, p.CWD, p.Comm, p.TTY = kept, own(p.Exe), own(p.CWD), own(p.Comm), own(p.TTY)
	return size + len(kept)*argHeader
}

func own(t event.Text) event.Text { return event.Text(strings.Clone(string(t))) }

// account books the argument bytes of n's image.
func (t *Tree) account(n *node, size int) {
	t.argBytes += size - n.args
	n.args = size
}
