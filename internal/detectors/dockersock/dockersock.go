// Package dockersock finds connections to the control socket of a container
// runtime (docker.sock, containerd.sock, podman.sock, crio.sock, LXD's and
// BuildKit's) from inside a container, or by a service's account. Who may talk
// to it is root on the host.
//
// From a container it is high, and medium for tools that are made for it
// (Traefik, Portainer, cAdvisor, Watchtower, monitoring agents, ...), by a
// binary that only root may change. A service's account whose group is not
// the socket's is medium, high with a network server behind it. An attempt
// that fails is one step lower: it shows that somebody looks for the socket.
//
// Known false alarms: build agents in containers; Docker in Docker, where the
// socket belongs to a runtime in the very container; accounts that an
// administrator put into the group docker as a supplementary one, which
// events do not tell.
//
// Not found: a runtime's TCP port; a socket that is mounted into the
// container under another name, where the kernel tells the name given by the
// caller and not the one it was made with; a relay (socat) on the host, and a
// descriptor handed over.
package dockersock

import (
	"strconv"
	"strings"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/origin"
	"github.com/merlon/merlon/internal/match/program"
)

var inside = event.Rule{
	ID:       "runtime-socket-container",
	Title:    "A container talks to the container runtime of its host",
	Severity: event.SeverityHigh,
	Attack:   []string{"T1611", "T1610"},
}

var account = event.Rule{
	ID:       "runtime-socket-service",
	Title:    "A service's account talks to the container runtime",
	Severity: event.SeverityMedium,
	Attack:   []string{"T1610", "T1611"},
}

// known are programs made to talk to the runtime, also from a container.
// Read-only.
var known = origin.NewNames("traefik", "portainer", "cadvisor", "watchtower", "telegraf", "datadog-agent", "trace-agent",
	"process-agent", "system-probe", "fluent-bit", "vector", "promtail", "alloy", "grafana-agent", "otelcol", "otelcol-contrib", "netdata",
	"node_exporter", "falco", "tetragon", "tracee", "cilium-agent", "calico-node", "kube-proxy", "kubelet", "dockerd", "docker-proxy",
	"crictl", "merlon", "diun", "dozzle", "homepage", "autoheal", "docker-gen", "nginx-proxy", "ecs-agent", "gitlab-runner",
	"gitlab-runner-helper", "zabbix_agent2", "glances")

// Detector implements contract.Detector.
type Detector struct{}

// New returns a Detector.
func New() *Detector { return &Detector{} }

// Name returns "dockersock".
func (*Detector) Name() string { return "dockersock" }

// Rules returns one rule for containers and one for services.
func (*Detector) Rules() []event.Rule { return []event.Rule{inside, account} }

// Needs returns unix_connect.
func (*Detector) Needs() []event.Kind { return []event.Kind{event.KindUnixConnect} }

// Detect looks at one connection.
func (*Detector) Detect(ev *event.Event, found func(event.Finding)) {
	n := ev.Net
	if n == nil || !runtime(string(n.Path)) || ev.Process == nil {
		return
	}
	p := ev.Process
	if p.Container != nil {
		r := inside
		if known.Has(p) {
			r.Severity = event.SeverityMedium
		}
		found(finding(ev, r, " in a container"))
		return
	}
	uid := p.Creds.EUID
	if ev.Thread.PID != 0 {
		uid = ev.Thread.EUID
	}
	if !origin.Account(uid) || origin.Person(p) || member(p.Group) || known.Has(p) {
		return
	}
	r := account
	if origin.Server(p) != nil {
		r.Severity = event.SeverityHigh
	}
	found(finding(ev, r, ", uid "+strconv.FormatUint(uint64(uid), 10)+" of a service,"))
}

// runtime reports whether a unix socket's name is that of a runtime.
func runtime(path string) bool {
	if !strings.HasSuffix(path, ".sock") && !strings.HasSuffix(path, "/unix.socket") || path[0] == '@' {
		return false
	}
	switch base := path[strings.LastIndexByte(path, '/')+1:]; base {
	case "docker.sock", "containerd.sock", "podman.sock", "crio.sock", "cri-dockerd.sock", "dockershim.sock", "buildkitd.sock":
		return true
	case "unix.socket":
		return strings.Contains(path, "/lxd/") || strings.Contains(path, "/incus/")
	}
	return false
}

// member reports whether a group is one that runtimes give their socket to.
func member(group string) bool {
	switch group {
	case "docker", "podman", "lxd", "incus", "incus-admin", "containerd", "root", "wheel":
		return true
	}
	return false
}

func finding(ev *event.Event, r event.Rule, as string) event.Finding {
	p, n := ev.Process, ev.Net
	f := event.Finding{Rule: r, Time: ev.Time, Event: ev.Clone(), Evidence: []event.Evidence{
		{Field: "net.path", Value: n.Path, Source: "kernel"},
		{Field: "process.exe", Value: p.Exe, Source: "kernel"},
	}}
	if p.Container != nil {
		f.Evidence = append(f.Evidence, event.Evidence{Field: "process.container.id", Value: event.Text(p.Container.ID), Source: "merlon"})
	} else {
		f.Evidence = append(f.Evidence, event.Evidence{Field: "process.group", Value: event.Text(p.Group), Source: "merlon"})
	}
	verb := " connected to "
	if n.Result < 0 {
		f.Rule.Severity = origin.Lower(r.Severity)
		f.Evidence = append(f.Evidence, event.Evidence{Field: "net.result", Value: event.Text(strconv.Itoa(n.Result)), Source: "kernel"})
		verb = " tried in vain to connect to "
	}
	f.Reason = program.Describe(p) + as + verb + event.Safe(string(n.Path)) + ", who commands it is root on the host"
	return f
}
