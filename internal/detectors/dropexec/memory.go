package dropexec

import (
	"bytes"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/program"
)

const (
	sets = 8192 // a power of two
	ways = 4
)

// Flags of an entry.
const (
	byServer   = 1 << iota // a web or database server wrote the file
	byDeployer             // a program that unpacks what others built did
)

// entry remembers one name or inode that was written. It holds no text of the
// process beyond the name, so that memory stays bounded whatever is written.
type entry struct {
	key   uint64 // 0 when free
	boot  uint64 // time of the write, nanoseconds since boot
	pid   uint32
	flags uint8
	name  [19]byte // of the program that wrote, cut
}

// memory holds the youngest entries: a table of fixed size, in which a new
// entry takes the place of the oldest of its set.
type memory struct {
	table *[sets][ways]entry
}

func newMemory() memory { return memory{new([sets][ways]entry)} }

// get returns the entry of a key until the next put, nil when there is none.
func (m memory) get(key uint64) *entry {
	set := &m.table[key>>32%sets]
	for i := range set {
		if set[i].key == key && key != 0 {
			return &set[i]
		}
	}
	return nil
}

// put adds or renews a key with what e tells of the writer; a key of 0 is
// nothing.
func (m memory) put(key uint64, e *entry, boot uint64) {
	if key == 0 {
		return
	}
	set := &m.table[key>>32%sets]
	at := &set[0]
	for i := range set {
		if set[i].key == key {
			at = &set[i]
			break
		}
		if set[i].boot < at.boot {
			at = &set[i]
		}
	}
	*at = *e
	at.key, at.boot = key, boot
}

// name notes which program writes.
func name(e *entry, p *event.Process) {
	n := program.Base(p.Exe)
	if n == "" {
		n = string(p.Comm)
	}
	copy(e.name[:], n)
}

func (e *entry) writer() string {
	n, _, _ := bytes.Cut(e.name[:], []byte{0})
	return string(n)
}
