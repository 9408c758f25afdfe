package moduleload

import (
	"strings"

	"github.com/merlon/merlon/internal/match/origin"
)

// What is known to load modules or BPF programs. Read-only.
var (
	// loaders are the tools that load modules for others.
	loaders = origin.NewNames("kmod", "modprobe", "insmod")

	// systemd is the program itself, not what it starts.
	systemd = origin.NewNames("systemd", "systemd-executor")

	// system are the programs that load what the machine needs, or run others
	// that do.
	system = origin.NewNames("systemd-udevd", "udevadm", "udevd", "systemd-modules-load", "mkinitramfs", "update-initramfs", "dracut")

	// runtimes start containers, and load filters for each.
	runtimes = origin.NewNames("runc", "crun", "youki", "dockerd", "containerd", "containerd-shim-runc-v2", "podman", "conmon", "crio",
		"lxc-start", "lxd", "incusd", "systemd-nspawn", "buildkitd")

	// watchers are tools whose work is to load BPF programs.
	watchers = origin.NewNames("bpftrace", "bpftool", "perf", "merlon", "cilium-agent", "tetragon", "falco", "tracee", "parca-agent",
		"sysdig", "pwru", "ply", "bpfd", "tc", "ip", "xdp-loader")

	// moduleServices need modules, by the name of the unit.
	moduleServices = units("docker", "containerd", "crio", "podman", "kubelet", "k3s", "k3s-agent", "rke2-server", "rke2-agent", "lxd", "lxc",
		"incus", "libvirtd", "virtqemud", "virtnetworkd", "virtualbox", "vboxdrv", "NetworkManager", "systemd-networkd", "networking",
		"wpa_supplicant", "firewalld", "ufw", "nftables", "iptables", "netfilter-persistent", "ipset", "wg-quick", "openvpn", "openvpn-client",
		"openvpn-server", "strongswan", "strongswan-starter", "ipsec", "tailscaled", "zerotier-one", "lvm2-monitor", "lvm2-lvmpolld",
		"zfs-load-module", "zfs-mount", "zfs-import-cache", "multipathd", "iscsid", "open-iscsi", "nvmf-autoconnect", "nfs-server",
		"rpc-gssd", "rpc-svcgssd", "bluetooth", "modprobe", "kmod", "systemd-modules-load", "systemd-udevd", "kmod-static-nodes", "binfmt-support",
		"systemd-binfmt", "thermald", "auditd", "cpupower", "nvidia-persistenced", "snapd", "openvswitch-switch", "ovs-vswitchd", "fuse",
		"console-setup", "alsa-restore", "watchdog", "ipmievd", "openipmi", "kdump", "kdump-tools", "dkms")

	// bpfServices load BPF programs, by the name of the unit.
	bpfServices = units("docker", "containerd", "crio", "podman", "kubelet", "k3s", "k3s-agent", "rke2-server", "rke2-agent", "lxd", "incus",
		"cilium", "tetragon", "falco", "falco-modern-bpf", "falco-bpf", "tracee", "merlon", "datadog-agent", "datadog-agent-sysprobe",
		"datadog-agent-security", "pixie", "parca-agent", "pyroscope", "beyla", "ebpf_exporter", "prometheus-ebpf-exporter", "kubearmor",
		"inspektor-gadget", "elastic-agent", "auditbeat", "sysdig", "sysmon", "falcon-sensor", "mdatp", "cbagentd", "osqueryd", "bcc", "pcp",
		"pmdabcc", "systemd-networkd", "systemd-oomd", "NetworkManager", "libvirtd", "firewalld", "irqbalance", "bpfd", "bpfman", "tuned",
		"sched-ext", "scx", "scx_loader", "netdata", "below")
)

func units(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// name returns a unit's name without its kind and instance:
// "wg-quick@wg0.service" is wg-quick.
func name(unit string) string {
	n := strings.TrimSuffix(unit, ".service")
	n, _, _ = strings.Cut(n, "@")
	return n
}
