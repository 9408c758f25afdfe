package dns

import (
	"encoding/binary"
	"net/netip"
	"strconv"

	"github.com/merlon/merlon/internal/record"
)

// data adds the text of a record's data: an address, a name, a text; of other
// types, and where the data does not fit its type (an error), its length.
func (p *Parser) data(b []byte, r *resource) (record.Span, error) {
	text, ok := p.appendData(p.tmp[:0], b, r)
	var err error
	if !ok {
		if known(r.kind) {
			err = errData
		}
		text = strconv.AppendInt(text[:0], int64(r.to-r.from), 10)
		text = append(text, " bytes"...)
	}
	p.tmp = text
	return p.texts.Add(text), err
}

// known reports whether the data of that type is told.
func known(kind uint16) bool {
	switch kind {
	case typeA, typeAAAA, typeCNAME, typeNS, typePTR, typeDNAME, typeMX, typeSRV, typeTXT, typeSPF:
		return true
	}
	return false
}

// appendData reports false for what it does not know or can't read.
func (p *Parser) appendData(dst, b []byte, r *resource) ([]byte, bool) {
	data := b[r.from:r.to]
	switch r.kind {
	case typeA:
		if len(data) != 4 {
			return dst, false
		}
		return netip.AddrFrom4([4]byte(data)).AppendTo(dst), true
	case typeAAAA:
		if len(data) != 16 {
			return dst, false
		}
		return netip.AddrFrom16([16]byte(data)).AppendTo(dst), true
	case typeCNAME, typeNS, typePTR, typeDNAME:
		return appendTarget(dst, b, r, 0)
	case typeMX:
		if len(data) < 3 {
			return dst, false
		}
		return appendTarget(appendNumber(dst, data), b, r, 2)
	case typeSRV:
		if len(data) < 7 {
			return dst, false
		}
		dst = appendNumber(dst, data)
		dst = appendNumber(dst, data[2:])
		return appendTarget(appendNumber(dst, data[4:]), b, r, 6)
	case typeTXT, typeSPF:
		return appendStrings(dst, data)
	}
	return dst, false
}

// appendTarget appends the name that begins skip bytes into the data, which
// must end with it. A name may be compressed, so the whole message is needed.
func appendTarget(dst, b []byte, r *resource, skip int) ([]byte, bool) {
	at := len(dst)
	dst, next, err := appendName(dst, b, r.from+skip)
	if err != nil {
		return dst[:at], false
	}
	return dst, next == r.to
}

func appendNumber(dst, data []byte) []byte {
	return append(strconv.AppendUint(dst, uint64(binary.BigEndian.Uint16(data)), 10), ' ')
}

// appendStrings appends the character strings of a text record, one after the
// other as their readers do (RFC 7208, 3.3).
func appendStrings(dst, data []byte) ([]byte, bool) {
	for len(data) > 0 {
		n := int(data[0])
		if n+1 > len(data) {
			return dst, false
		}
		dst = append(dst, data[1:1+n]...)
		data = data[1+n:]
	}
	return dst, true
}
