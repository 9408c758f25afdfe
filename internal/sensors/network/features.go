package network

import (
	"context"
	"slices"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

// Names of the features, as check prints them.
const (
	FeatureConnect = "see connections"
	FeatureAccept  = "see accepts"
	FeatureTry     = "see connects that send nothing"
	FeatureBind    = "see binds"
	FeatureFlow    = "see UDP flows"
	FeatureRaw     = "see raw sockets"
	FeatureUnix    = "see connects to unix sockets"
	FeatureSeed    = "know earlier sockets"
)

const group = "network"

// hooks is what this kernel was found to offer: programs by feature.
type hooks struct {
	by      map[string][]string
	cookies bool // sockets can be numbered in tracing programs
	seed    bool
}

// featuresOf lists by kind the features that report it.
func featuresOf() map[event.Kind][]string {
	return map[event.Kind][]string{
		event.KindNetConnect:  {FeatureConnect, FeatureTry},
		event.KindNetAccept:   {FeatureConnect, FeatureAccept},
		event.KindNetListen:   {FeatureConnect},
		event.KindNetClose:    {FeatureConnect},
		event.KindNetBind:     {FeatureBind},
		event.KindNetFlow:     {FeatureFlow},
		event.KindNetRaw:      {FeatureRaw},
		event.KindUnixConnect: {FeatureUnix},
	}
}

// kindsOf lists the kinds that a feature reports, in the order of the
// reference.
func kindsOf(feature string) []event.Kind {
	by := featuresOf()
	return slices.DeleteFunc(event.Kinds(), func(k event.Kind) bool { return !slices.Contains(by[k], feature) })
}

// programs lists what has to be attached for the kinds.
func (h *hooks) programs(kinds []event.Kind) []string {
	features := featuresOf()
	var progs []string
	for _, k := range kinds {
		for _, f := range features[k] {
			for _, p := range h.by[f] {
				if !slices.Contains(progs, p) {
					progs = append(progs, p)
				}
			}
		}
	}
	return progs
}

// knobs sets the programs to what the kernel offers.
func (h *hooks) knobs() map[string]any {
	return map[string]any{
		networkVarNetCookies: h.cookies,
		networkVarNetAccepts: !slices.Contains(h.by[FeatureAccept], networkProgNetState),
	}
}

// Probe implements contract.Sensor: every hook is attached, sees a canary's
// sockets on the loopback interface, and is let go.
func (s *Sensor) Probe(ctx context.Context) []event.Feature {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probe(ctx)
}

func (s *Sensor) probe(ctx context.Context) []event.Feature {
	spec, err := loadNetwork()
	if err != nil {
		return []event.Feature{{Name: FeatureConnect, Group: group, Guarantee: event.Absent, Why: err.Error()}}
	}
	ranked := s.k.Rank(ctx, spec, features())
	found := make([]event.Feature, 0, len(ranked))
	h := &hooks{by: make(map[string][]string)}
	for _, r := range ranked {
		found = append(found, r.Feature)
		if r.Hook == nil {
			continue
		}
		h.by[r.Name] = r.Hook.Programs
		h.cookies = h.cookies || r.Hook.Knobs[networkVarNetCookies] == true
		h.seed = h.seed || r.Name == FeatureSeed
	}
	if s.unit == nil { // what is loaded stays what it is
		s.hooks = h
	}
	return found
}

// features lists, per feature, the hooks from best to worst.
func features() []kernel.FeatureSpec {
	tracepoint := "tracepoint inet_sock_set_state"
	spec := func(name string, h ...kernel.Hook) kernel.FeatureSpec {
		for i := range h {
			h[i].Guarantee = event.Observe
		}
		return kernel.FeatureSpec{Name: name, Group: group, Kinds: kindsOf(name), Hooks: h}
	}
	cookies := map[string]any{networkVarNetCookies: true}
	accepts := map[string]any{networkVarNetAccepts: true}
	return []kernel.FeatureSpec{
		spec(FeatureConnect,
			kernel.Hook{Tier: tracepoint, Programs: []string{networkProgNetState}, Knobs: cookies, Canary: canaryTCP},
			kernel.Hook{Tier: tracepoint + ", not all sockets numbered", Programs: []string{networkProgNetState}, Canary: canaryTCP}),
		spec(FeatureAccept,
			kernel.Hook{Tier: "fexit inet_csk_accept", Programs: []string{networkProgNetAcceptFx}, Knobs: accepts, Canary: canaryAccept},
			kernel.Hook{Tier: tracepoint + ": the process that listens", Programs: []string{networkProgNetState}, Canary: canaryAccept}),
		spec(FeatureTry,
			kernel.Hook{Tier: "fexit inet_stream_connect, cgroup connect4, connect6", Canary: canaryTryResult,
				Programs: []string{networkProgNetConnect4, networkProgNetConnect6, networkProgNetTriedFx}},
			kernel.Hook{Tier: "cgroup connect4, connect6, sock_release: told late, without the error", Canary: canaryTry,
				Programs: []string{networkProgNetConnect4, networkProgNetConnect6, networkProgNetRelease}}),
		spec(FeatureBind, kernel.Hook{Tier: "cgroup post_bind4, post_bind6", Canary: canaryBind,
			Programs: []string{networkProgNetBind4, networkProgNetBind6}}),
		spec(FeatureFlow, kernel.Hook{Tier: "cgroup_skb, sock_create, sock_release", Canary: canaryFlow,
			Programs: []string{networkProgNetMake, networkProgNetRelease, networkProgNetOut, networkProgNetIn}}),
		spec(FeatureRaw,
			kernel.Hook{Tier: "fentry security_socket_post_create", Programs: []string{networkProgNetRawFe}, Canary: canaryPacket},
			kernel.Hook{Tier: "kprobe security_socket_post_create", Programs: []string{networkProgNetRawKp}, Canary: canaryPacket},
			kernel.Hook{Tier: "cgroup sock_create, tracepoint cap_capable", Programs: []string{networkProgNetRawCg, networkProgNetRawCap}, Canary: canaryPacket},
			kernel.Hook{Tier: "cgroup sock_create: no packet sockets", Programs: []string{networkProgNetRawCg}, Canary: canaryRaw}),
		spec(FeatureUnix,
			kernel.Hook{Tier: "cgroup connect_unix", Programs: []string{networkProgNetUnixCg}, Canary: canaryUnix},
			kernel.Hook{Tier: "fentry security_unix_stream_connect", Programs: []string{networkProgNetUnixFe}, Canary: canaryUnix},
			kernel.Hook{Tier: "kprobe security_unix_stream_connect", Programs: []string{networkProgNetUnixKp}, Canary: canaryUnix}),
		spec(FeatureSeed, kernel.Hook{Tier: "task_file iterator", Programs: []string{networkProgNetSeed}, Canary: canarySeed}),
	}
}
