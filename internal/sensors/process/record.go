package process

import (
	"fmt"
	"unsafe"
)

// view copies the fixed part of a record, a C struct of process.bpf.c as
// bpf2go laid it out, and returns the bytes behind it.
func view[T any](rec []byte, into *T) (rest []byte, err error) {
	size := int(unsafe.Sizeof(*into))
	if len(rec) < size {
		return nil, fmt.Errorf("decode record: %d bytes, want at least %d", len(rec), size)
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(into)), size), rec)
	return rec[size:], nil
}

// cstring returns the bytes of a C character array before its first NUL.
func cstring(s []int8) []byte {
	b := unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), len(s))
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
	}
	return b
}

// cursor takes pieces off the variable part of a record.
type cursor struct {
	rest []byte
	bad  bool
}

func (c *cursor) take(n int) []byte {
	if n > len(c.rest) {
		c.bad = true
		return nil
	}
	b := c.rest[:n]
	c.rest = c.rest[n:]
	return b
}

// texts collects strings in one buffer, so that an event costs one allocation
// for all of them: add while decoding, then seal, then get.
type texts struct {
	buf  []byte
	text string
}

// span is the place of one string in texts.
type span struct{ from, to int }

func (t *texts) reset() { t.buf, t.text = t.buf[:0], "" }

func (t *texts) add(b []byte) span {
	from := len(t.buf)
	t.buf = append(t.buf, b...)
	return span{from, len(t.buf)}
}

// addPath adds the path whose components, each followed by '/', lie in b leaf
// first. A path that does not begin at the root gets no leading slash when it
// is a single name without a place (memfd:x), and "…" in front when cut.
func (t *texts) addPath(b []byte, status processPathStatus) span {
	from := len(t.buf)
	if status == processPathStatusPATH_DEEP {
		t.buf = append(t.buf, "…"...)
	}
	placed := status != processPathStatusPATH_OUTSIDE
	if len(b) == 0 && status == processPathStatusPATH_OK {
		t.buf = append(t.buf, '/')
	}
	for end := len(b); end > 0; {
		start := end - 1 // the slash behind the component
		for start > 0 && b[start-1] != '/' {
			start--
		}
		if placed || end != len(b) {
			t.buf = append(t.buf, '/')
		}
		t.buf = append(t.buf, b[start:end-1]...)
		end = start
	}
	return span{from, len(t.buf)}
}

func (t *texts) bytes(s span) []byte { return t.buf[s.from:s.to] }

func (t *texts) seal()             { t.text = string(t.buf) }
func (t *texts) get(s span) string { return t.text[s.from:s.to] }
