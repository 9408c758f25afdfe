// Package dns is the sensor for DNS: queries and answers, from the packets of
// this host's sockets, with the process that owns the socket. Nothing is
// attached to system calls but the cgroup hooks of connect, bind and sendto,
// which leave again after one comparison of ports.
package dns

import (
	"context"
	"errors"
	"fmt"
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

	mu   sync.Mutex // guards what follows
	unit *kernel.Unit
}

// New returns the sensor; nothing is loaded before Probe or Attach.
func New(k *kernel.Kernel, o Options) *Sensor {
	return &Sensor{Decoder: NewDecoder(), k: k, log: o.Log}
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
		spec, err := loadDns()
		if err != nil {
			return fmt.Errorf("read dns programs: %w", err)
		}
		if s.unit, err = s.k.Load(spec, kernel.LoadOptions{Name: "dns", Programs: programs()}); err != nil {
			return fmt.Errorf("load dns sensor: %w", err)
		}
	}
	for _, p := range programs() {
		if err := s.unit.Attach(p); err != nil {
			return errors.Join(fmt.Errorf("attach dns sensor: %w", err), s.detach())
		}
	}
	return nil
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
