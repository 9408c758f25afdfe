package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/filter"
	"github.com/merlon/merlon/internal/match/kinds"
)

// batch is how many events a stream copies out of the hub at a time.
const batch = 256

// maxPaths bounds the paths that one client asks for.
const maxPaths = 64

// streamQuery is what a client asked of a stream.
type streamQuery struct {
	kinds  []event.Kind // empty: those that are reported anyway
	wanted map[event.Kind]bool
	paths  []string // files whose reads are asked for
	filter *filter.Filter
	last   int // -1: all that is there
	follow bool
}

func (s *Server) parseStream(q url.Values) (streamQuery, error) {
	sq := streamQuery{last: -1, follow: q.Get("follow") == "1", wanted: map[event.Kind]bool{}}
	for name := range q {
		if !slices.Contains([]string{"kind", "filter", "last", "follow", "path"}, name) {
			return sq, fmt.Errorf("unknown parameter %q", name)
		}
	}
	var err error
	if sq.kinds, err = kinds.Expand(q["kind"]); err != nil {
		return sq, err
	}
	if err := sq.parsePaths(q["path"]); err != nil {
		return sq, err
	}
	for _, k := range sq.kinds {
		sq.wanted[k] = true
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

var errPath = errors.New("not an absolute path without . and .. parts")

func (q *streamQuery) parsePaths(paths []string) error {
	if len(paths) > maxPaths {
		return fmt.Errorf("%d paths are asked for; at most %d can be", len(paths), maxPaths)
	}
	for _, p := range paths {
		if clean := filepath.Clean(p); !filepath.IsAbs(p) || p != clean && p != clean+"/" {
			return fmt.Errorf("path=%q is %w", event.Safe(p), errPath)
		}
	}
	q.paths = paths
	if len(paths) > 0 && !slices.Contains(q.kinds, event.KindFileOpen) {
		q.kinds = append(q.kinds, event.KindFileOpen)
	}
	return nil
}

// wants reports whether the client asked for ev.
func (q *streamQuery) wants(ev *event.Event) (bool, error) {
	if !q.wantsKind(ev) {
		return false, nil
	}
	if q.filter == nil {
		return true, nil
	}
	return q.filter.Match(ev)
}

// wantsKind reports whether ev is of a kind that the client asked for, or
// tells of the loss of such.
func (q *streamQuery) wantsKind(ev *event.Event) bool {
	if len(q.kinds) == 0 || q.wanted[ev.Kind] {
		return true
	}
	return ev.Kind == event.KindLoss && ev.Loss != nil && q.wanted[ev.Loss.Of]
}

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

// settling is how long a stream waits for the sensors before it begins.
const settling = 15 * time.Second

// events streams events. What the client missed because it read too slowly
// stands in the stream as loss events of stage client. The answer begins when
// the hooks of the kinds that a follower asked for are attached.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	q, err := s.parseStream(r.URL.Query())
	if err != nil {
		cure := "`merlon events --fields` lists kinds and fields"
		if errors.Is(err, errPath) {
			cure = "give the whole path, like /etc/shadow, or /etc/ for all below"
		}
		problem(w, http.StatusBadRequest, err.Error(), cure)
		return
	}
	rd, err := s.o.Hub.Read(q.kinds...)
	if err != nil {
		problem(w, http.StatusServiceUnavailable, err.Error(), "")
		return
	}
	defer rd.Close()
	if q.last == 0 {
		rd.Skip()
	}
	var notes []Problem
	if q.follow && len(q.kinds) > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), settling)
		asked := s.o.Agent.Ask(ctx, askerName(r.Context()), q.kinds, q.paths)
		cancel()
		defer asked.Release()
		notes = asked.Notes
	}
	out := &eventStream{query: &q, reader: rd, stream: newStream(w), hub: s.o.Hub}
	for i := range notes {
		if out.enc.Encode(&notes[i]) != nil {
			return
		}
	}
	if out.past() != nil || !q.follow {
		return
	}
	for out.now() == nil && rd.Wait(r.Context()) == nil {
	}
}

// askerName is what status calls a client.
func askerName(ctx context.Context) string {
	if p, ok := peerFrom(ctx); ok {
		return fmt.Sprintf("client pid %d", p.pid)
	}
	return "client"
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
	end := o.hub.end()
	var keep []event.Event
	for o.reader.behind(end) {
		n, lost, err := o.reader.Poll(o.buf[:])
		if err != nil {
			return err
		}
		for i := range lost { // of what the reader wants only
			keep = append(keep, *lossEvent(&lost[i]))
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
	if len(keep) == 0 && !o.query.follow {
		if err := o.unasked(); err != nil {
			return err
		}
	}
	return o.flush()
}

// unasked tells of kinds of which there is nothing because nobody asks.
func (o *eventStream) unasked() error {
	var names []string
	for _, k := range o.query.kinds {
		if !o.hub.Usual(k) {
			names = append(names, string(k))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return o.enc.Encode(Problem{
		Message: "not kept, because only those who follow a stream and detectors may ask for it: " + strings.Join(names, ", "),
		Cure:    "follow them with -f, or add them to events.kinds in the agent's configuration",
	})
}

// now writes what has come since the last call.
func (o *eventStream) now() error {
	for {
		n, lost, err := o.reader.Poll(o.buf[:])
		if err != nil {
			return err
		}
		for i := range lost {
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
