package dns

import (
	"container/list"
	"encoding/binary"
	"unsafe"
)

// Places in a record.
const (
	recSize = int(unsafe.Sizeof(dnsDnsRec{}))
	actorAt = unsafe.Offsetof(dnsDnsRec{}.Actor)
)

// Limits of what is kept of streams.
const (
	maxMessage = 65535   // bytes of a message (RFC 1035, 4.2.2)
	minMessage = 12      // its header
	maxFlows   = 1024    // directions of connections that are followed
	maxHeld    = 4 << 20 // bytes of unfinished messages in all
)

// flowKey is one direction of a connection.
type flowKey struct {
	cookie uint64
	out    bool
}

// flow is where one direction of a connection is.
type flow struct {
	key  flowKey
	next uint32 // sequence number of the byte that comes next
	skip int    // bytes of a message told already, still to come
	buf  []byte // the message at hand, its length in front
}

// streams cuts the segments of TCP connections into messages, each with its
// length in front (RFC 1035, 4.2.2; RFC 7766). What can't be followed is given
// up and counted; the next segment is then taken to begin with a message.
type streams struct {
	flows  map[flowKey]*list.Element
	recent *list.List // of *flow, the one used last in front
	held   int        // bytes in the flows' buf
}

func newStreams() streams {
	return streams{flows: make(map[flowKey]*list.Element), recent: list.New()}
}

// add takes the segment of length bytes at seq, of which data was captured,
// and calls message for each message that ends in it, or whose end won't be
// seen: then fewer bytes than size. The bytes are valid during the call.
// missed is how often messages were lost.
func (s *streams) add(key flowKey, seq uint32, data []byte, length uint32, message func(msg []byte, size int)) (missed int) {
	end := seq + length
	f, missed := s.flow(key, seq)
	if ahead := int32(seq - f.next); ahead < 0 { // sent again
		old := uint32(-ahead)
		if old >= length {
			return missed
		}
		data, length = data[min(int(old), len(data)):], length-old
	} else if ahead > 0 { // a gap
		missed++
		s.restart(f)
	}
	f.next = end
	before := len(f.buf)
	missed += f.take(data, int(length)-len(data), message)
	if len(f.buf) == 0 && cap(f.buf) > 1024 {
		f.buf = nil
	}
	s.held += len(f.buf) - before
	for s.held > maxHeld {
		missed += s.drop()
	}
	return missed
}

// take cuts data, behind which unseen bytes of the segment were not captured.
func (f *flow) take(data []byte, unseen int, message func(msg []byte, size int)) (missed int) {
	for {
		n := min(f.skip, len(data))
		f.skip -= n
		data = data[n:]
		if len(data) == 0 && f.skip > 0 {
			n = min(f.skip, unseen)
			f.skip -= n
			unseen -= n
		}
		if len(data)+unseen == 0 {
			return missed
		}
		for len(f.buf) < 2 && len(data) > 0 {
			f.buf, data = append(f.buf, data[0]), data[1:]
		}
		if len(f.buf) < 2 {
			if unseen > 0 { // where the next message begins was not captured
				f.buf = f.buf[:0]
				return missed + 1
			}
			return missed
		}
		size := int(binary.BigEndian.Uint16(f.buf))
		if size < minMessage {
			f.buf = f.buf[:0]
			return missed + 1
		}
		want := size - (len(f.buf) - 2)
		switch {
		case want <= len(data) && len(f.buf) == 2:
			message(data[:want], size)
		case want <= len(data):
			f.buf = append(f.buf, data[:want]...)
			message(f.buf[2:], size)
		case unseen > 0:
			f.buf = append(f.buf, data...)
			message(f.buf[2:], size)
			f.skip = want - len(data)
			want = len(data)
		default:
			f.buf = append(f.buf, data...)
			return missed
		}
		f.buf, data = f.buf[:0], data[want:]
	}
}

// flow returns the flow of that key; one that is new begins at seq.
func (s *streams) flow(key flowKey, seq uint32) (f *flow, missed int) {
	if e := s.flows[key]; e != nil {
		s.recent.MoveToFront(e)
		return e.Value.(*flow), 0
	}
	for len(s.flows) >= maxFlows {
		missed += s.drop()
	}
	f = &flow{key: key, next: seq}
	s.flows[key] = s.recent.PushFront(f)
	return f, missed
}

func (s *streams) restart(f *flow) {
	s.held -= len(f.buf)
	f.buf, f.skip = f.buf[:0], 0
}

// drop gives up the flow that was used longest ago, and reports whether a
// message was lost with it.
func (s *streams) drop() (missed int) {
	e := s.recent.Back()
	f := e.Value.(*flow)
	if len(f.buf) > 0 {
		missed = 1
	}
	s.held -= len(f.buf)
	s.recent.Remove(e)
	delete(s.flows, f.key)
	return missed
}
