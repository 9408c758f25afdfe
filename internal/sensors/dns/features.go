package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
	"github.com/merlon/merlon/internal/record"
)

// Names of the features, as check prints them.
const (
	FeatureDNS   = "see DNS"
	FeatureOwner = "know earlier DNS sockets"
)

// Probe implements contract.Sensor. There is one tier: every kernel that has
// the rest of what Merlon needs (5.10) has these hooks, if a cgroup2 hierarchy
// is mounted.
func (s *Sensor) Probe(ctx context.Context) []event.Feature {
	spec, err := loadDns()
	if err != nil {
		return []event.Feature{{Name: FeatureDNS, Group: "network", Kinds: []event.Kind{event.KindDNS}, Guarantee: event.Absent, Why: err.Error()}}
	}
	ranked := s.k.Rank(ctx, spec, []kernel.FeatureSpec{
		{Name: FeatureDNS, Group: "network", Kinds: []event.Kind{event.KindDNS}, Hooks: []kernel.Hook{
			{Tier: "cgroup programs on packets and addresses", Guarantee: event.Observe, Programs: programs(), Canary: canary}}},
		{Name: FeatureOwner, Group: "network", Hooks: []kernel.Hook{ // bpf_sock_from_file: Linux 5.11
			{Tier: "iterator over open files", Guarantee: event.Observe, Programs: []string{dnsProgDnsSeed}, Canary: canarySeed}}},
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	features := make([]event.Feature, 0, len(ranked))
	for _, r := range ranked {
		if r.Name == FeatureOwner {
			s.seeds = r.Hook != nil
		}
		features = append(features, r.Feature)
	}
	return features
}

// canarySeed opens a socket that nobody saw and wants its owner found.
func canarySeed(ctx context.Context, p *kernel.Probe) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp4", "127.0.0.1:53")
	if err != nil {
		return fmt.Errorf("open a socket on loopback: %w", err)
	}
	defer c.Close()
	if err := seed(p.Unit()); err != nil {
		return err
	}
	a, err := owner(p.Unit(), c.(*net.UDPConn))
	if err == nil && a.Start == 0 {
		err = errors.New("find the owner of a socket: it has none")
	}
	return err
}

// owner returns who is noted as the owner of a socket.
func owner(u *kernel.Unit, c syscall.Conn) (a dnsEventActor, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return a, fmt.Errorf("find the owner of a socket: %w", err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = u.Map(dnsMapDnsOwners).Lookup(int32(fd), &a) })
	if err = errors.Join(err, failed); err != nil {
		return a, fmt.Errorf("find the owner of a socket: %w", err)
	}
	return a, nil
}

// canary sends two bytes, which no server takes for a query, to the port of
// DNS on the loopback interface, and wants them reported as ours.
func canary(ctx context.Context, p *kernel.Probe) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp4", "127.0.0.1:53")
	if err != nil {
		return fmt.Errorf("open a socket on loopback: %w", err)
	}
	defer c.Close()
	port := uint16(c.LocalAddr().(*net.UDPAddr).Port)
	if _, err := c.Write([]byte("mc")); err != nil {
		return fmt.Errorf("send over loopback: %w", err)
	}
	return p.Await(ctx, uint16(dnsEventKindKIND_DNS_PACKET), func(rec []byte) bool {
		r, rest, err := record.View[dnsDnsRec](rec)
		return err == nil && r.Sport == port && r.Dport == 53 && r.Copied == 2 && len(rest) >= 2 && string(rest[:2]) == "mc" &&
			r.Flags&uint16(dnsPacketFlagDNS_OUT) != 0 && r.Actor.Start != 0 && r.Actor.Pid != 0
	})
}
