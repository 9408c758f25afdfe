package dns

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// framed returns messages as they follow each other in a stream.
func framed(messages ...[]byte) (b []byte) {
	for _, m := range messages {
		b = binary.BigEndian.AppendUint16(b, uint16(len(m)))
		b = append(b, m...)
	}
	return b
}

// note is what add told of one message.
type note struct {
	msg  string
	size int
}

// reader follows one flow of a test.
type reader struct {
	s      streams
	seq    uint32
	notes  []note
	missed int
}

// segment adds the next segment, of which cut bytes at the end were not captured.
func (r *reader) segment(b []byte, cut int) {
	r.at(r.seq, b, cut)
	r.seq += uint32(len(b))
}

func (r *reader) at(seq uint32, b []byte, cut int) {
	r.missed += r.s.add(flowKey{cookie: 1}, seq, b[:len(b)-cut], uint32(len(b)), func(msg []byte, size int) {
		r.notes = append(r.notes, note{string(msg), size})
	})
}

func (r *reader) want(t *testing.T, missed int, want ...note) {
	t.Helper()
	if !slices.Equal(r.notes, want) || r.missed != missed {
		t.Errorf("%+v and %d missed, want %+v and %d", r.notes, r.missed, want, missed)
	}
}

func whole(messages ...[]byte) (n []note) {
	for _, m := range messages {
		n = append(n, note{string(m), len(m)})
	}
	return n
}

func TestStream(t *testing.T) {
	a, b, c := bytes.Repeat([]byte("a"), 20), bytes.Repeat([]byte("b"), 300), bytes.Repeat([]byte("c"), 12)
	all := framed(a, b, c)
	start := ^uint32(0) - 50 // the sequence numbers wrap

	for size := 1; size <= len(all); size++ { // in segments of every size
		r := &reader{s: newStreams(), seq: start}
		for seg := range slices.Chunk(all, size) {
			r.segment(seg, 0)
		}
		r.want(t, 0, whole(a, b, c)...)
		if r.s.held != 0 {
			t.Fatalf("%d bytes held after the last message", r.s.held)
		}
	}
	t.Run("sent again", func(t *testing.T) {
		r := &reader{s: newStreams(), seq: start}
		r.segment(all[:100], 0)
		r.at(start, all[:100], 0)
		r.at(start+50, all[50:150], 0)
		r.seq += 50
		r.segment(all[150:], 0)
		r.at(start, all, 0)
		r.want(t, 0, whole(a, b, c)...)
	})
	t.Run("gap", func(t *testing.T) {
		r := &reader{s: newStreams(), seq: start}
		r.segment(all[:100], 0)
		r.seq += 10
		r.segment(framed(c), 0) // begins with a message, as nearly all do
		r.want(t, 1, whole(a, c)...)
	})
	t.Run("cut", func(t *testing.T) {
		r := &reader{s: newStreams(), seq: start}
		r.segment(framed(a, b)[:200], 50) // the end of the segment was not captured, and b goes on
		r.segment(framed(a, b)[200:], 0)
		r.segment(framed(c), 0)
		r.want(t, 0, note{string(a), 20}, note{string(b[:126]), 300}, note{string(c), 12})
	})
	t.Run("cut where a message begins", func(t *testing.T) {
		r := &reader{s: newStreams(), seq: start}
		r.segment(framed(b, c), 14)
		r.segment(framed(a), 0)
		r.want(t, 1, append(whole(b), whole(a)...)...)
	})
	t.Run("not DNS", func(t *testing.T) {
		r := &reader{s: newStreams(), seq: start}
		r.segment([]byte("\x00\x01x"), 0)
		r.segment(framed(a), 0)
		r.want(t, 1, whole(a)...)
	})
	t.Run("bounds", func(t *testing.T) {
		s := newStreams()
		missed := 0
		for i := range uint64(5 * maxFlows) {
			missed += s.add(flowKey{cookie: i}, 0, framed(make([]byte, 40000))[:20000], 20000, func([]byte, int) { t.Error("a message that is not whole") })
			if s.held > maxHeld || len(s.flows) > maxFlows || s.recent.Len() != len(s.flows) {
				t.Fatalf("%d bytes in %d flows held", s.held, len(s.flows))
			}
		}
		if missed != 5*maxFlows-len(s.flows) {
			t.Errorf("%d missed, %d of %d flows held", missed, len(s.flows), 5*maxFlows)
		}
	})
}

// FuzzStream: any segments keep the books right and the bounds.
func FuzzStream(f *testing.F) {
	f.Add([]byte("\x00\x0cabcdefghijkl\x00\x0cabcdefghijkl"), uint16(3), uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, step uint16, cut uint8) {
		s := newStreams()
		seq := uint32(0)
		for seg := range slices.Chunk(data, int(step)+1) {
			n := len(seg) - min(int(cut), len(seg))
			s.add(flowKey{cookie: uint64(cut) & 1}, seq, seg[:n], uint32(len(seg)), func(msg []byte, size int) {
				if len(msg) > size || size < minMessage || size > maxMessage {
					t.Fatalf("%d bytes of a message of %d", len(msg), size)
				}
			})
			seq += uint32(len(seg)) - uint32(cut>>6) // some overlap
			held := 0
			for _, e := range s.flows {
				held += len(e.Value.(*flow).buf)
			}
			if held != s.held {
				t.Fatalf("%d bytes held, %d booked", held, s.held)
			}
		}
	})
}
