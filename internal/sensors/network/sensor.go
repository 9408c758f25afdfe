// Package network is the sensor for sockets: connections and their outcome,
// accepts, binds, listeners, ends with what was carried, UDP by flow, raw and
// packet sockets, connections to named unix sockets. TCP is told by one
// tracepoint, all the rest by programs of the root control group or, where
// they can be traced, by functions; nothing is on any system call.
package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

// Options are what the sensor is made with.
type Options struct {
	Log *slog.Logger
	// FlowIdle is how long a UDP flow is silent before it has ended; 30 s
	// when zero.
	FlowIdle time.Duration
}

// Sensor implements contract.Sensor and contract.Source.
type Sensor struct {
	*Decoder
	k    *kernel.Kernel
	opts Options

	mu     sync.Mutex // guards what follows
	unit   *kernel.Unit
	hooks  *hooks // what this kernel offers; nil before it was asked
	failed map[string]error
	wanted []event.Kind
}

// New returns the sensor; nothing is loaded before Probe or Attach.
func New(k *kernel.Kernel, o Options) *Sensor {
	if o.FlowIdle == 0 {
		o.FlowIdle = 30 * time.Second
	}
	return &Sensor{Decoder: NewDecoder(), k: k, opts: o, failed: make(map[string]error)}
}

// The record kinds of this sensor follow each other.
const (
	firstKind = uint16(networkEventKindKIND_NET_CONNECT)
	lastKind  = uint16(networkEventKindKIND_UNIX_CONNECT)
)

// kindOf names what a record becomes; nothing for those of others.
func kindOf(wire uint16) event.Kind {
	switch networkEventKind(wire) {
	case networkEventKindKIND_NET_CONNECT:
		return event.KindNetConnect
	case networkEventKindKIND_NET_ACCEPT:
		return event.KindNetAccept
	case networkEventKindKIND_NET_BIND:
		return event.KindNetBind
	case networkEventKindKIND_NET_LISTEN:
		return event.KindNetListen
	case networkEventKindKIND_NET_CLOSE:
		return event.KindNetClose
	case networkEventKindKIND_NET_FLOW:
		return event.KindNetFlow
	case networkEventKindKIND_NET_RAW:
		return event.KindNetRaw
	case networkEventKindKIND_UNIX_CONNECT:
		return event.KindUnixConnect
	}
	return ""
}

// Info implements contract.Sensor.
func (s *Sensor) Info() contract.SensorInfo {
	i := contract.SensorInfo{Name: "network", Wire: make(map[uint16]event.Kind)}
	for w := firstKind; w <= lastKind; w++ {
		i.Wire[w] = kindOf(w)
		i.Kinds = append(i.Kinds, kindOf(w))
	}
	return i
}

// Attach implements contract.Sensor. A program that the kernel refuses is left
// out and told by Degraded; the rest is attached. It is an error when nothing
// that was asked for could be attached.
func (s *Sensor) Attach(ctx context.Context, kinds []event.Kind) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unit == nil {
		if len(kinds) == 0 {
			return nil
		}
		if err := s.load(ctx); err != nil {
			return err
		}
	}
	// What is newly asked for is let through before its programs attach, what
	// is not asked for any more is held back before they go.
	if err := s.mute(kinds); err != nil {
		return err
	}
	want := s.hooks.programs(kinds)
	for _, p := range s.unit.Attached() {
		if !slices.Contains(want, p) {
			s.detach(p)
		}
	}
	before := s.unit.Attached()
	ok, err := s.attachAll(want, before)
	s.reseed(ctx, kinds, before)
	s.wanted = slices.Clone(kinds)
	if ok == 0 && err != nil {
		return fmt.Errorf("attach network sensor: %w", err)
	}
	return nil
}

// attachAll attaches what is not attached yet, and returns how many of want are,
// and the last refusal.
func (s *Sensor) attachAll(want, before []string) (ok int, last error) {
	for _, p := range want {
		if !slices.Contains(before, p) {
			if err := s.unit.Attach(p); err != nil {
				s.failed[p], last = err, err
				continue
			}
			delete(s.failed, p)
		}
		ok++
	}
	return ok, last
}

// detach lets a program go, and forgets what only it keeps right.
func (s *Sensor) detach(p string) {
	if err := s.unit.Detach(p); err != nil {
		s.opts.Log.Warn("detach", "program", p, "err", err)
	}
	delete(s.failed, p)
	udp := func(n *networkNetSock) bool { return n.Notes&uint32(networkSockNoteNOTE_UDP) != 0 }
	var err error
	switch p {
	case networkProgNetState:
		err = forget[uint64](s.unit.Map(networkMapNetSocks), func(n *networkNetSock) bool { return !udp(n) })
	case networkProgNetMake:
		err = forget[uint64](s.unit.Map(networkMapNetSocks), udp)
	case networkProgNetOut:
		err = forget[networkFlowKey](s.unit.Map(networkMapNetFlows), func(*networkNetFlow) bool { return true })
	}
	if err != nil {
		s.opts.Log.Warn("forget sockets", "program", p, "err", err)
	}
}

// reseed reads the sockets that are there, when a program that knows them only
// by what happens was just attached, or listeners were just asked for.
func (s *Sensor) reseed(ctx context.Context, kinds []event.Kind, before []string) {
	now := s.unit.Attached()
	fresh := func(p string) bool { return slices.Contains(now, p) && !slices.Contains(before, p) }
	listens := slices.Contains(kinds, event.KindNetListen) && !slices.Contains(s.wanted, event.KindNetListen)
	if !s.hooks.seed || !fresh(networkProgNetState) && !fresh(networkProgNetMake) && !listens {
		return
	}
	if err := seed(ctx, s.unit); err != nil {
		s.opts.Log.Warn("sockets from before stay unknown", "err", err)
	}
}

// seed runs the iterator over all open files.
func seed(ctx context.Context, u *kernel.Unit) error {
	r, err := u.Iterate(networkProgNetSeed)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, reader{ctx, r})
	return errors.Join(err, r.Close())
}

// reader reads until its context ends.
type reader struct {
	ctx context.Context //nolint:containedctx // lives as long as the call of seed
	io.Reader
}

func (r reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(b)
}

// mute tells the programs which kinds nobody asked for.
func (s *Sensor) mute(kinds []event.Kind) error {
	m := s.unit.Map(networkMapNetMuted)
	if m == nil {
		return nil // no program of those that tell several kinds is loaded
	}
	muted := ^uint32(0)
	for w := firstKind; w <= lastKind; w++ {
		if slices.Contains(kinds, kindOf(w)) {
			muted &^= 1 << (w - firstKind)
		}
	}
	if err := m.Put(uint32(0), muted); err != nil {
		return fmt.Errorf("attach network sensor: choose kinds: %w", err)
	}
	return nil
}

// load brings the programs into the kernel that it was found to offer.
func (s *Sensor) load(ctx context.Context) error {
	if s.hooks == nil {
		s.probe(ctx)
	}
	spec, err := loadNetwork()
	if err != nil {
		return fmt.Errorf("read network programs: %w", err)
	}
	progs := s.hooks.programs(s.Info().Kinds)
	if len(progs) == 0 {
		return errors.New("load network sensor: no hook works on this kernel")
	}
	if s.hooks.seed {
		progs = append(progs, networkProgNetSeed)
	}
	s.unit, err = s.k.Load(spec, kernel.LoadOptions{Name: "network", Programs: progs, Knobs: s.hooks.knobs()})
	if err != nil {
		return fmt.Errorf("load network sensor: %w", err)
	}
	return nil
}

// Degraded returns the programs that the kernel refused, with its reasons.
func (s *Sensor) Degraded() map[string]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := make(map[string]error, len(s.failed))
	for p, err := range s.failed {
		m[p] = err
	}
	return m
}

// Close implements contract.Sensor.
func (s *Sensor) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unit == nil {
		return nil
	}
	u := s.unit
	s.unit = nil
	return u.Close()
}

var (
	_ contract.Sensor = (*Sensor)(nil)
	_ contract.Source = (*Sensor)(nil)
)
