// Package dns is the sensor for DNS: queries and answers, from the packets of
// this host's sockets, with the process that owns the socket. Nothing is
// attached to system calls but the cgroup hooks of connect, bind and sendto,
// which leave again after one comparison of ports.
package dns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

// Options sets up a Sensor.
type Options struct {
	Log *slog.Logger // required
}

// Sensor implements contract.Sensor, and contract.Source for the messages that
// share a segment with others.
type Sensor struct {
	*Decoder
	k   *kernel.Kernel
	log *slog.Logger

	mu    sync.Mutex // guards what follows
	unit  *kernel.Unit
	seeds bool // the iterator over open files works
}

// New returns the sensor; nothing is loaded before Probe or Attach.
func New(k *kernel.Kernel, o Options) *Sensor {
	return &Sensor{Decoder: NewDecoder(), k: k, log: o.Log, seeds: true}
}

// Info implements contract.Sensor.
func (s *Sensor) Info() contract.SensorInfo {
	return contract.SensorInfo{
		Name:  "dns",
		Wire:  map[uint16]event.Kind{uint16(dnsEventKindKIND_DNS_PACKET): event.KindDNS},
		Kinds: []event.Kind{event.KindDNS},
	}
}

// programs lists them in the order of attaching: a socket's owner is known
// before its packets are seen.
func programs() []string {
	return []string{
		dnsProgDnsConnect4, dnsProgDnsConnect6, dnsProgDnsSendmsg4, dnsProgDnsSendmsg6, dnsProgDnsBind4, dnsProgDnsBind6,
		dnsProgDnsOut, dnsProgDnsIn,
	}
}

// Attach implements contract.Sensor: all programs when DNS is asked for, none
// otherwise. It is an error when one of them can't be attached; then none is.
func (s *Sensor) Attach(_ context.Context, kinds []event.Kind) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(kinds, event.KindDNS) {
		return s.detach()
	}
	if s.unit == nil {
		if err := s.load(); err != nil {
			return fmt.Errorf("load dns sensor: %w", err)
		}
	}
	if len(s.unit.Attached()) == len(programs()) {
		return nil
	}
	for _, p := range programs() {
		if err := s.unit.Attach(p); err != nil {
			return errors.Join(fmt.Errorf("attach dns sensor: %w", err), s.detach())
		}
	}
	if s.seeds {
		if err := seed(s.unit); err != nil {
			s.log.Warn("the processes of DNS sockets that are open already stay unknown until they send", "err", err)
		}
	}
	return nil
}

// load brings the programs into the kernel, the iterator only where it works:
// without Probe before, that is found out here.
func (s *Sensor) load() error {
	spec, err := loadDns()
	if err != nil {
		return fmt.Errorf("read dns programs: %w", err)
	}
	if s.seeds {
		o := kernel.LoadOptions{Name: "dns", Programs: append(programs(), dnsProgDnsSeed)}
		if s.unit, err = s.k.Load(spec, o); err == nil {
			return nil
		}
		s.log.Debug("load without the iterator", "err", err)
		s.seeds = false
	}
	s.unit, err = s.k.Load(spec, kernel.LoadOptions{Name: "dns", Programs: programs()})
	return err
}

// seed finds the owners of the sockets that are open.
func seed(u *kernel.Unit) error {
	r, err := u.Iterate(dnsProgDnsSeed)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r) // it writes nothing: reading runs it
	return errors.Join(err, r.Close())
}

func (s *Sensor) detach() error {
	if s.unit == nil {
		return nil
	}
	var errs []error
	for _, p := range s.unit.Attached() {
		errs = append(errs, s.unit.Detach(p))
	}
	return errors.Join(errs...)
}

// Run implements contract.Source: what Decode finds beyond one message of a
// record goes into feed.
func (s *Sensor) Run(ctx context.Context, feed contract.Feed) error {
	s.Decoder.feed.Store(&feed)
	defer s.Decoder.feed.Store(nil)
	<-ctx.Done()
	return nil
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
