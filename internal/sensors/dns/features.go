package dns

import (
	"context"
	"fmt"
	"net"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
	"github.com/merlon/merlon/internal/record"
)

// FeatureDNS names the feature, as check prints it.
const FeatureDNS = "see DNS"

// Probe implements contract.Sensor. There is one tier: every kernel that has
// the rest of what Merlon needs (5.10) has these hooks, if a cgroup2 hierarchy
// is mounted.
func (s *Sensor) Probe(ctx context.Context) []event.Feature {
	spec, err := loadDns()
	if err != nil {
		return []event.Feature{{Name: FeatureDNS, Group: "network", Guarantee: event.Absent, Why: err.Error()}}
	}
	ranked := s.k.Rank(ctx, spec, []kernel.FeatureSpec{{Name: FeatureDNS, Group: "network", Kinds: []event.Kind{event.KindDNS}, Hooks: []kernel.Hook{
		{Tier: "cgroup programs on packets and addresses", Guarantee: event.Observe, Programs: programs(), Canary: canary}}}})
	return []event.Feature{ranked[0].Feature}
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
