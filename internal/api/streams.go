package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/filter"
	"github.com/merlon/merlon/internal/match/near"
)

// batch is how many events a stream copies out of the hub at a time.
const batch = 256

// streamQuery is what a client asked of a stream.
type streamQuery struct {
	kinds  map[event.Kind]bool // empty: all
	filter *filter.Filter
	last   int // -1: all that is there
	follow bool
}

func (s *Server) parseStream(q url.Values) (streamQuery, error) {
	sq := streamQuery{last: -1, follow: q.Get("follow") == "1", kinds: map[event.Kind]bool{}}
	for name := range q {
		if !slices.Contains([]string{"kind", "filter", "last", "follow"}, name) {
			return sq, fmt.Errorf("unknown parameter %q", name)
		}
	}
	for _, k := range q["kind"] {
		if err := CheckKind(k); err != nil {
			return sq, err
		}
		sq.kinds[event.Kind(k)] = true
	}
	if text := q.Get("last"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return sq, fmt.Errorf("last=%q is not a number from 0", text)
		}
		sq.last = n
	}
	if text := q.Get("filter"); text != "" {
		f, err := s.filters.Compile(text)
		if err != nil {
			return sq, err
		}
		sq.filter = f
	}
	return sq, nil
}

// CheckKind tells, with the nearest name, when there is no such kind of event.
func CheckKind(kind string) error {
	names := make([]string, 0, 8)
	for _, k := range event.Kinds() {
		if string(k) == kind {
			return nil
		}
		names = append(names, string(k))
	}
	if n, ok := near.Find(kind, names); ok {
		return fmt.Errorf("there is no kind %q; did you mean %s?", kind, n)
	}
	return fmt.Errorf("there is no kind %q; the kinds are %s", kind, strings.Join(names, ", "))
}

// wants reports whether the client asked for ev.
func (q *streamQuery) wants(ev *event.Event) (bool, error) {
	if !q.wantsKind(ev.Kind) {
		return false, nil
	}
	if q.filter == nil {
		return true, nil
	}
	return q.filter.Match(ev)
}

func (q *streamQuery) wantsKind(k event.Kind) bool { return len(q.kinds) == 0 || q.kinds[k] }

// stream writes one line of JSON after the other.
type stream struct {
	w     http.ResponseWriter
	enc   *json.Encoder
	flush func() error
}

func newStream(w http.ResponseWriter) *stream {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	return &stream{w: w, enc: json.NewEncoder(w), flush: http.NewResponseController(w).Flush}
}

// events streams events. What the client missed because it read too slowly
// stands in the stream as loss events of stage client.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	q, err := s.parseStream(r.URL.Query())
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error(), "`merlon events --fields` lists kinds and fields")
		return
	}
	rd, err := s.o.Hub.Read()
	if err != nil {
		problem(w, http.StatusServiceUnavailable, err.Error(), "")
		return
	}
	defer rd.Close()
	if q.last == 0 {
		rd.Skip()
	}
	out := &eventStream{query: &q, reader: rd, stream: newStream(w), hub: s.o.Hub}
	if out.past() != nil || !q.follow {
		return
	}
	for out.now() == nil && rd.Wait(r.Context()) == nil {
	}
}

type eventStream struct {
	*stream
	query  *streamQuery
	reader *Reader
	hub    *Hub
	buf    [batch]event.Event
	failed bool // the filter failed before: told once
}

// past writes the last events of those that are there, as many as asked for.
func (o *eventStream) past() error {
	_, end := o.hub.bounds()
	var keep []event.Event
	for o.reader.next < end {
		n, lost, err := o.reader.Poll(o.buf[:])
		if err != nil {
			return err
		}
		for i := range lost {
			if o.query.wantsKind(lost[i].Of) {
				keep = append(keep, *lossEvent(&lost[i]))
			}
		}
		for i := range o.buf[:n] {
			if ok, err := o.query.wants(&o.buf[i]); err != nil {
				o.tell(err)
			} else if !ok {
				continue
			} else if keep = append(keep, o.buf[i]); o.query.last >= 0 && len(keep) > 2*o.query.last {
				keep = slices.Delete(keep, 0, len(keep)-o.query.last)
			}
		}
	}
	if o.query.last >= 0 && len(keep) > o.query.last {
		keep = keep[len(keep)-o.query.last:]
	}
	for i := range keep {
		if err := o.enc.Encode(&keep[i]); err != nil {
			return err
		}
	}
	return o.flush()
}

// now writes what has come since the last call.
func (o *eventStream) now() error {
	for {
		n, lost, err := o.reader.Poll(o.buf[:])
		if err != nil {
			return err
		}
		for i := range lost {
			if !o.query.wantsKind(lost[i].Of) {
				continue
			}
			if err := o.enc.Encode(lossEvent(&lost[i])); err != nil {
				return err
			}
		}
		if n == 0 {
			return o.flush()
		}
		for i := range o.buf[:n] {
			ok, err := o.query.wants(&o.buf[i])
			if err != nil {
				o.tell(err)
			}
			if !ok {
				continue
			}
			if err := o.enc.Encode(&o.buf[i]); err != nil {
				return err
			}
		}
	}
}

// tell writes, once a stream, that the filter could not tell of an event.
func (o *eventStream) tell(err error) {
	if o.failed {
		return
	}
	o.failed = true
	_ = o.enc.Encode(Problem{Message: err.Error(), Cure: "events of which the filter can't tell are left out"})
}
