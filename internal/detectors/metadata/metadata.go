// Package metadata finds connections to the metadata service of a cloud
// (169.254.169.254 and its like) by something that is not known for them. That
// service hands out the credentials of the machine to who asks.
//
// Let pass are the agents of the clouds, cloud-init, network and time
// services, and node agents (kubelet, ECS, log shippers), by the name of their
// unit or by a binary that only root may change. A web or database server is
// high: it never needs it, and a request forged through it does (SSRF). So is
// a shell's tool (curl, wget, an interpreter given code) in a service or a
// container. Other services and containers are medium; a person at work is
// low. Every attempt counts, also one that fails.
//
// Known false alarms: applications that use the cloud's SDK with the machine's
// own role. They are what the rule is about, and yours to know.
//
// Not found: a request through a proxy on the same host; UDP; DNS and time,
// which some clouds serve at the same address (ports 53 and 123); a
// connection that was there before Merlon; the address under another route or
// by a name that a local proxy answers.
package metadata

import (
	"net"
	"strconv"
	"strings"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/origin"
	"github.com/merlon/merlon/internal/match/program"
)

var rule = event.Rule{
	ID:       "cloud-metadata",
	Title:    "Something not known for it asked the cloud's metadata service",
	Severity: event.SeverityMedium,
	Attack:   []string{"T1552.005"},
}

// Detector implements contract.Detector.
type Detector struct{}

// New returns a Detector.
func New() *Detector { return &Detector{} }

// Name returns "metadata".
func (*Detector) Name() string { return "metadata" }

// Rules returns its one rule.
func (*Detector) Rules() []event.Rule { return []event.Rule{rule} }

// Needs returns net_connect.
func (*Detector) Needs() []event.Kind { return []event.Kind{event.KindNetConnect} }

// Detect looks at one connection.
func (*Detector) Detect(ev *event.Event, found func(event.Finding)) {
	n := ev.Net
	if n == nil || !cloud(n.RemoteAddr) || n.Type == "dgram" || n.RemotePort == 53 || n.RemotePort == 123 {
		return
	}
	p := ev.Process
	if p != nil && (tools.Has(p) || services[origin.Service(p)] || origin.Installer(p) != nil) {
		return
	}
	s, note := grade(p)
	f := event.Finding{Rule: rule, Time: ev.Time, Event: ev.Clone(), Evidence: []event.Evidence{
		{Field: "net.remote_addr", Value: event.Text(n.RemoteAddr), Source: "kernel"},
		{Field: "net.remote_port", Value: event.Text(strconv.Itoa(int(n.RemotePort))), Source: "kernel"},
	}}
	f.Rule.Severity = s
	if p != nil {
		f.Evidence = append(f.Evidence, event.Evidence{Field: "process.exe", Value: p.Exe, Source: "kernel"})
		if p.Service != "" {
			f.Evidence = append(f.Evidence, event.Evidence{Field: "process.service", Value: event.Text(p.Service), Source: "merlon"})
		}
	}
	f.Reason = who(ev) + " connected to the cloud's metadata service, " + event.Safe(net.JoinHostPort(n.RemoteAddr, strconv.Itoa(int(n.RemotePort)))) + note
	found(f)
}

// cloud reports whether addr is a metadata service: most clouds, AWS over
// IPv6, Alibaba, Oracle's old one.
func cloud(addr string) bool {
	switch addr {
	case "169.254.169.254", "fd00:ec2::254", "100.100.100.200", "192.0.0.192":
		return true
	}
	return false
}

func grade(p *event.Process) (event.Severity, string) {
	if p == nil {
		return event.SeverityMedium, ""
	}
	if server := origin.Server(p); server != nil {
		return event.SeverityHigh, "; behind it is " + program.Describe(server)
	}
	if origin.Person(p) {
		return event.SeverityLow, ""
	}
	if by := program.Of(p); fetchers[by] || program.Interpreter(p) && program.RoleOf(p.Args) != program.Script {
		return event.SeverityHigh, ""
	}
	return event.SeverityMedium, ""
}

func who(ev *event.Event) string {
	if ev.Process == nil {
		return event.Safe(string(ev.Thread.Comm)) + " (pid " + strconv.FormatUint(uint64(ev.Thread.PID), 10) + ")"
	}
	return program.Describe(ev.Process)
}

// What is known to ask, and what a shell asks with. Read-only.
var (
	fetchers = names("curl", "wget", "nc", "ncat", "netcat", "socat", "openssl", "lwp-request", "lynx", "bash", "busybox", "fetch", "http", "aria2c")

	tools = origin.NewNames("cloud-init", "cloud-id", "ds-identify", "amazon-ssm-agent", "ssm-agent-worker", "ssm-document-worker",
		"amazon-cloudwatch-agent", "ec2-metadata", "ec2-net-utils", "ec2-instance-connect", "eic_run_authorized_keys", "hibinit-agent",
		"google_guest_agent", "google_metadata_script_runner", "google_osconfig_agent", "google_oslogin_nss_cache", "google_authorized_keys",
		"gce_workload_cert_refresh", "waagent", "WALinuxAgent", "aliyun-service", "aliyun_assist", "oci-utils", "ocid", "systemd-networkd",
		"systemd-imdsd", "nm-cloud-setup", "NetworkManager", "dhclient", "dhcpcd", "chronyd", "ntpd", "systemd-timesyncd", "systemd-resolved",
		"snapd", "kubelet", "ecr-credential-provider", "dockerd", "containerd", "ecs-agent", "amazon-ecs-agent", "merlon")

	services = units("amazon-ssm-agent", "snap.amazon-ssm-agent.amazon-ssm-agent", "amazon-cloudwatch-agent", "ec2-instance-connect",
		"ec2-instance-connect-harvest-hostkeys", "hibinit-agent", "cloud-init", "cloud-init-local", "cloud-init-main", "cloud-init-network",
		"cloud-init-hotplugd", "cloud-config", "cloud-final", "google-guest-agent", "google-guest-agent-manager", "google-osconfig-agent",
		"google-startup-scripts", "google-shutdown-scripts", "google-oslogin-cache", "gce-workload-cert-refresh", "walinuxagent", "waagent",
		"azure-proxy-agent", "oracle-cloud-agent", "snap.oracle-cloud-agent.oracle-cloud-agent", "aliyun", "AssistDaemon", "cloudmonitor",
		"nm-cloud-setup", "systemd-networkd", "systemd-resolved", "systemd-timesyncd", "chrony", "chronyd", "ntp", "ntpd", "ntpsec",
		"NetworkManager", "snapd", "kubelet", "ecs", "docker", "containerd", "datadog-agent", "fluent-bit", "td-agent-bit", "vector",
		"telegraf", "newrelic-infra", "google-cloud-ops-agent-fluent-bit", "google-cloud-ops-agent-opentelemetry-collector", "azuremonitoragent")
)

func names(list ...string) map[string]bool {
	m := make(map[string]bool, len(list))
	for _, n := range list {
		m[n] = true
	}
	return m
}

func units(list ...string) map[string]bool {
	m := names()
	for _, n := range list {
		m[strings.TrimSuffix(n, ".service")+".service"] = true
	}
	return m
}
