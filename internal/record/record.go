// Package record reads the records that BPF programs send: a fixed head, laid
// out by the compiler and known from BTF, and behind it pieces whose lengths
// the head tells. All sensors' decoders are made of it.
package record

import (
	"errors"
	"fmt"
	"unsafe"
)

// ErrShort is what a decoder returns when a Cursor is Bad.
var ErrShort = errors.New("decode record: shorter than its lengths say")

// View returns the head of rec as a T, without copying, and what follows it.
// The head is valid as long as rec is, which must start at an address that is a
// multiple of 8, as those of the rings do.
func View[T any](rec []byte) (head *T, rest []byte, err error) {
	size := int(unsafe.Sizeof(*head))
	if len(rec) < size {
		return nil, nil, fmt.Errorf("decode record: %d bytes, want at least %d", len(rec), size)
	}
	return (*T)(unsafe.Pointer(&rec[0])), rec[size:], nil
}

// CString returns the bytes of a C character array before its first NUL.
func CString(s []int8) []byte {
	b := unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), len(s))
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
	}
	return b
}

// Cursor takes pieces off the variable part of a record.
type Cursor struct {
	rest []byte
	bad  bool
}

// NewCursor returns a Cursor over rest.
func NewCursor(rest []byte) Cursor { return Cursor{rest: rest} }

// Take returns the next n bytes; nil when there are fewer, which Bad remembers.
func (c *Cursor) Take(n int) []byte {
	if n < 0 || n > len(c.rest) {
		c.bad = true
		return nil
	}
	b := c.rest[:n]
	c.rest = c.rest[n:]
	return b
}

// Bad reports whether Take was ever asked for more than there was.
func (c *Cursor) Bad() bool { return c.bad }
