// Package dns reads DNS messages: the wire format of RFC 1035 with the names
// of RFC 4343, truncation as in RFC 2181, EDNS(0) (RFC 6891), and what
// multicast DNS (RFC 6762) and LLMNR (RFC 4795) share with it. It is pure: bytes
// in, an event.DNS out.
//
// Nothing that a message says is believed further than its bytes go: a name is
// at most 255 octets after at most 126 compression pointers, at most
// MaxAnswers records are told, and the work for a message is bounded by its
// length.
package dns

import (
	"encoding/binary"
	"errors"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/record"
)

// MaxAnswers is the most records of an answer section that are told.
const MaxAnswers = 64

// Sizes of the wire format, in bytes (RFC 1035, 4.1).
const (
	headerSize = 12
	fixedSize  = 10 // of a record, behind its owner: type, class, TTL, length
	minRecord  = 1 + fixedSize
)

// The ports of the flavours (RFC 1035, RFC 6762, RFC 4795).
const (
	Port      = 53
	PortMDNS  = 5353
	PortLLMNR = 5355
)

// The flavours of DNS, as event.DNS.Flavour names them.
const (
	FlavourDNS   = "dns"
	FlavourMDNS  = "mdns"
	FlavourLLMNR = "llmnr"
)

// Flavour names what is spoken on a port; "" where it is none of these.
func Flavour(port uint16) string {
	switch port {
	case Port:
		return FlavourDNS
	case PortMDNS:
		return FlavourMDNS
	case PortLLMNR:
		return FlavourLLMNR
	}
	return ""
}

var errShort = errors.New("ends too early")

// Parser reads messages. It keeps its buffers between them: two allocations a
// message with answers, one without. One goroutine uses it.
type Parser struct {
	texts record.Texts
	tmp   []byte
	spans [MaxAnswers]recordSpans
}

// recordSpans are the texts of one answer before they are strings.
type recordSpans struct{ name, data record.Span }

// message is the message being read.
type message struct {
	b        []byte
	off      int
	question record.Span
	mdns     bool // the classes' top bits are flags (RFC 6762, 5.4 and 10.2)
}

// Parse fills d from the message in b. size is the message's whole length,
// which may be more than was captured: then running out of bytes makes it Cut
// instead of Malformed. d.Flavour is read, and of d only what a message can
// tell is written. b is not kept.
func (p *Parser) Parse(b []byte, size int, d *event.DNS) {
	d.Size = uint32(size)
	p.texts.Reset()
	m := message{b: b, off: headerSize, mdns: d.Flavour == FlavourMDNS}
	err := p.parse(&m, d)
	p.texts.Seal()
	d.Name = event.Text(p.texts.Get(m.question))
	for i := range d.Answers {
		a, s := &d.Answers[i], &p.spans[i]
		a.Name, a.Data = event.Text(p.texts.Get(s.name)), event.Text(p.texts.Get(s.data))
	}
	d.Cut = len(b) < size
	if err != nil && d.Malformed == "" && !(d.Cut && errors.Is(err, errShort)) {
		d.Malformed = err.Error()
	}
}

func (p *Parser) parse(m *message, d *event.DNS) error {
	if len(m.b) < headerSize {
		return errShort
	}
	word := func(i int) uint16 { return binary.BigEndian.Uint16(m.b[2*i:]) }
	flags := word(1)
	d.ID, d.Response = word(0), flags&0x8000 != 0
	d.Authority, d.Truncated, d.Recursion = flags&0x0400 != 0, flags&0x0200 != 0, flags&0x0100 != 0
	if op := flags >> 11 & 15; op != 0 {
		d.Opcode = opcodeName(op)
	}
	code := flags & 15
	if d.Response {
		d.Code = codeName(code)
	}
	for i := range int(word(2)) {
		if err := p.readQuestion(m, d, i == 0); err != nil {
			return err
		}
	}
	if err := p.readAnswers(m, d, int(word(3))); err != nil {
		return err
	}
	for range int(word(4)) {
		if _, err := m.skipRecord(); err != nil {
			return err
		}
	}
	for range int(word(5)) {
		r, err := m.skipRecord()
		if err != nil {
			return err
		}
		if r.kind == typeOPT { // RFC 6891, 6.1.3: the class is the size, the TTL's first byte extends the code
			d.EDNSSize = r.class
			if d.Response {
				d.Code = codeName(uint16(r.ttl>>24)<<4 | code)
			}
		}
	}
	return nil
}

// readQuestion reads a question; only the first is told.
func (p *Parser) readQuestion(m *message, d *event.DNS, first bool) error {
	if !first {
		if err := m.skipName(); err != nil {
			return err
		}
		if len(m.b)-m.off < 4 {
			return errShort
		}
		m.off += 4
		return nil
	}
	span, next, err := p.name(m.b, m.off)
	if err != nil {
		return err
	}
	m.question = span
	if len(m.b)-next < 4 {
		m.off = len(m.b)
		return errShort
	}
	kind, class := binary.BigEndian.Uint16(m.b[next:]), binary.BigEndian.Uint16(m.b[next+2:])
	if m.mdns {
		class &= 0x7fff
	}
	d.Type, d.Class = typeName(kind), className(class)
	m.off = next + 4
	return nil
}

// readAnswers tells the first MaxAnswers of the n records and walks over the rest.
func (p *Parser) readAnswers(m *message, d *event.DNS, n int) error {
	told := min(n, MaxAnswers, (len(m.b)-m.off)/minRecord+1)
	if n > 0 && m.off < len(m.b) {
		d.Answers = make([]event.DNSRecord, 0, told)
	}
	for i := range n {
		if i >= MaxAnswers {
			if _, err := m.skipRecord(); err != nil {
				return err
			}
			continue
		}
		if err := p.readAnswer(m, d); err != nil {
			return err
		}
	}
	return nil
}

func (p *Parser) readAnswer(m *message, d *event.DNS) error {
	var owner record.Span
	var err error
	// Nearly every owner is a pointer to the question: one copy serves them all.
	if m.off+1 < len(m.b) && m.b[m.off] == 0xc0 && m.b[m.off+1] == headerSize && m.question.To > 0 {
		owner = m.question
		m.off += 2
	} else if owner, m.off, err = p.name(m.b, m.off); err != nil {
		return err
	}
	r, err := m.fixed()
	if err != nil {
		return err
	}
	data, bad := p.data(m.b, &r)
	if bad != nil && d.Malformed == "" {
		d.Malformed = bad.Error()
	}
	p.spans[len(d.Answers)] = recordSpans{owner, data}
	d.Answers = append(d.Answers, event.DNSRecord{Type: typeName(r.kind), TTL: r.ttl})
	return nil
}
