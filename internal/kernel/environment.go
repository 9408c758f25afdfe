package kernel

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/merlon/merlon/internal/event"
	"golang.org/x/sys/unix"
)

// Environment is what this machine is and allows, as far as it can be read.
// It explains refusals; what works is only ever proven by canaries.
type Environment struct {
	Release        string   `json:"release"`                   // uname -r
	Arch           string   `json:"arch"`                      // amd64, arm64
	Lockdown       string   `json:"lockdown"`                  // none, integrity, confidentiality; empty when unknown (kernel_lockdown(7))
	LSMs           []string `json:"lsms"`                      // active security modules, in order
	BTF            string   `json:"btf"`                       // where type information comes from; empty when nowhere
	MissingCaps    []string `json:"missing_caps"`              // of those the agent uses
	Seccomp        string   `json:"seccomp"`                   // off, strict, filter
	JIT            string   `json:"jit"`                       // on, off, debug; empty when unknown
	CgroupMode     string   `json:"cgroup_mode"`               // v1, hybrid, v2, none
	CgroupPath     string   `json:"cgroup_path,omitempty"`     // mount point of the unified hierarchy
	BPFFS          string   `json:"bpffs,omitempty"`           // mount point of bpffs
	Tracefs        string   `json:"tracefs,omitempty"`         // mount point of tracefs
	Securityfs     string   `json:"securityfs,omitempty"`      // mount point of securityfs
	Container      string   `json:"container,omitempty"`       // what hints at a container around us
	UserNS         bool     `json:"user_ns,omitempty"`         // not in the initial user namespace
	PIDNS          bool     `json:"pid_ns,omitempty"`          // not in the initial pid namespace
	MemlockLimited bool     `json:"memlock_limited,omitempty"` // RLIMIT_MEMLOCK binds BPF and could not be raised
}

// Inode numbers of the initial namespaces: include/linux/proc_ns.h.
const (
	initUserNS = 0xeffffffd
	initPIDNS  = 0xeffffffc
)

// wantedCaps are the capabilities the agent uses: bpf(2), tracing, mounting and
// fanotify, the locked-memory limit, network hooks.
var wantedCaps = []struct {
	name string
	bit  uint
}{
	{"CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN},
	{"CAP_BPF", unix.CAP_BPF},
	{"CAP_PERFMON", unix.CAP_PERFMON},
	{"CAP_NET_ADMIN", unix.CAP_NET_ADMIN},
	{"CAP_SYS_RESOURCE", unix.CAP_SYS_RESOURCE},
}

// readEnvironment reads everything that needs no mounts.
func readEnvironment() Environment {
	env := Environment{Arch: runtime.GOARCH}
	uts := unix.Utsname{}
	if unix.Uname(&uts) == nil {
		env.Release = unix.ByteSliceToString(uts.Release[:])
	}
	status := readFile("/proc/self/status")
	caps, _ := strconv.ParseUint(statusField(status, "CapEff"), 16, 64)
	env.MissingCaps = missingCaps(event.CapSet(caps))
	env.Seccomp = map[string]string{"0": "off", "1": "strict", "2": "filter"}[statusField(status, "Seccomp")]
	env.JIT = map[string]string{"0": "off", "1": "on", "2": "debug"}[readFile("/proc/sys/net/core/bpf_jit_enable")]
	env.UserNS = foreignNS("/proc/self/ns/user", initUserNS)
	env.PIDNS = foreignNS("/proc/self/ns/pid", initPIDNS)
	env.Container = containerHint()
	return env
}

// addMounts notes where the mounted filesystems are, and what they tell.
func (e *Environment) addMounts(mounts []heldMount) {
	for _, m := range mounts {
		*map[string]*string{"tracefs": &e.Tracefs, "securityfs": &e.Securityfs, "bpf": &e.BPFFS, "cgroup2": &e.CgroupPath}[m.fstype] = m.path
	}
	if e.Securityfs != "" {
		e.Lockdown = selected(readFile(filepath.Join(e.Securityfs, "lockdown")))
		if lsms := readFile(filepath.Join(e.Securityfs, "lsm")); lsms != "" {
			e.LSMs = strings.Split(lsms, ",")
		}
	}
}

func missingCaps(have event.CapSet) []string {
	var missing []string
	for _, c := range wantedCaps {
		// CAP_SYS_ADMIN contains the two that Linux 5.8 split off it (capabilities(7)).
		if (c.bit == unix.CAP_BPF || c.bit == unix.CAP_PERFMON) && have&(1<<unix.CAP_SYS_ADMIN) != 0 {
			continue
		}
		if have&(1<<c.bit) == 0 {
			missing = append(missing, c.name)
		}
	}
	return missing
}

// canBPF reports whether the capabilities suffice to load tracing programs.
func (e *Environment) canBPF() bool {
	return !slices.Contains(e.MissingCaps, "CAP_BPF") && !slices.Contains(e.MissingCaps, "CAP_PERFMON")
}

// statusField returns a field of /proc/PID/status.
func statusField(status, name string) string {
	for line := range strings.Lines(status) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// selected returns the bracketed word of "none [integrity] confidentiality".
func selected(s string) string {
	_, s, _ = strings.Cut(s, "[")
	s, _, ok := strings.Cut(s, "]")
	if !ok {
		return ""
	}
	return s
}

func foreignNS(path string, initial uint64) bool {
	st := unix.Stat_t{}
	return unix.Stat(path, &st) == nil && st.Ino != initial
}

// containerHint names what shows that we are in a container.
func containerHint() string {
	for _, h := range []struct{ path, name string }{{"/.dockerenv", "docker"}, {"/run/.containerenv", "podman"}} {
		if _, err := os.Stat(h.path); err == nil {
			return h.name
		}
	}
	for _, v := range strings.Split(readFile("/proc/1/environ"), "\x00") {
		if name, ok := strings.CutPrefix(v, "container="); ok {
			return event.Safe(name)
		}
	}
	if os.Getenv("KUBERNETES_SERVICE_HOST") != "" {
		return "kubernetes"
	}
	return ""
}

// readFile returns a small file's text, trimmed, or nothing.
func readFile(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
