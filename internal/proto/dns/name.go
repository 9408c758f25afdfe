package dns

import (
	"encoding/binary"
	"errors"

	"github.com/merlon/merlon/internal/record"
)

// Limits of names (RFC 1035, 2.3.4). A name of 255 octets has at most 126
// labels that one pointer each could lead to.
const (
	maxName     = 255
	maxPointers = 126
)

var (
	errLongName = errors.New("name of more than 255 octets")
	errLoop     = errors.New("compression pointers in a loop")
	errLabel    = errors.New("label of an unknown type")
	errData     = errors.New("record data does not fit its type")
)

// name adds the name at off to the texts, in lower case and without the last
// dot; the root is ".". next is where the message goes on.
func (p *Parser) name(b []byte, off int) (span record.Span, next int, err error) {
	p.tmp, next, err = appendName(p.tmp[:0], b, off)
	if err != nil {
		return record.Span{}, len(b), err
	}
	return p.texts.Add(p.tmp), next, nil
}

// appendName appends the name at off as text: the bytes of its labels as they
// are, but dots and backslashes in them behind a backslash, and what is not
// printable as \DDD (RFC 1035, 5.1; RFC 4343, 2.1).
func appendName(dst, b []byte, off int) (text []byte, next int, err error) {
	start, budget, pointers := len(dst), maxName, 0
	for {
		if off >= len(b) {
			return dst, 0, errShort
		}
		n := int(b[off])
		off++
		switch n & 0xc0 {
		case 0x00:
			if n == 0 {
				if pointers == 0 {
					next = off
				}
				if len(dst) == start {
					return append(dst, '.'), next, nil
				}
				return dst, next, nil
			}
			if off+n > len(b) {
				return dst, 0, errShort
			}
			if budget -= n + 1; budget <= 0 {
				return dst, 0, errLongName
			}
			if len(dst) > start {
				dst = append(dst, '.')
			}
			dst = appendLabel(dst, b[off:off+n])
			off += n
		case 0xc0:
			if off >= len(b) {
				return dst, 0, errShort
			}
			if pointers == 0 {
				next = off + 1
			}
			if pointers++; pointers > maxPointers {
				return dst, 0, errLoop
			}
			off = n&0x3f<<8 | int(b[off])
		default: // RFC 2673's bit labels are historic (RFC 6891, 5)
			return dst, 0, errLabel
		}
	}
}

func appendLabel(dst, label []byte) []byte {
	for _, c := range label {
		switch {
		case c == '.' || c == '\\':
			dst = append(dst, '\\', c)
		case c <= ' ' || c > '~':
			dst = append(dst, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		case c >= 'A' && c <= 'Z':
			dst = append(dst, c|0x20)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// skipName goes over a name without following its pointer.
func (m *message) skipName() error {
	for length := 0; ; {
		if m.off >= len(m.b) {
			return errShort
		}
		n := int(m.b[m.off])
		switch n & 0xc0 {
		case 0x00:
			m.off += 1 + n
			if n == 0 {
				return nil
			}
			if length += n + 1; length >= maxName {
				return errLongName
			}
		case 0xc0:
			m.off += 2
			if m.off > len(m.b) {
				return errShort
			}
			return nil
		default:
			return errLabel
		}
	}
}

// resource is the fixed part of a record and the place of its data.
type resource struct {
	kind, class uint16
	ttl         uint32
	from, to    int // of the data in the message
}

// fixed reads the fixed part of a record behind its owner and goes over the
// record's data.
func (m *message) fixed() (resource, error) {
	if len(m.b)-m.off < fixedSize {
		return resource{}, errShort
	}
	h := m.b[m.off:]
	r := resource{kind: binary.BigEndian.Uint16(h), class: binary.BigEndian.Uint16(h[2:]),
		ttl: binary.BigEndian.Uint32(h[4:]), from: m.off + fixedSize}
	r.to = r.from + int(binary.BigEndian.Uint16(h[8:]))
	if r.to > len(m.b) {
		return resource{}, errShort
	}
	m.off = r.to
	return r, nil
}

func (m *message) skipRecord() (resource, error) {
	if err := m.skipName(); err != nil {
		return resource{}, err
	}
	return m.fixed()
}
