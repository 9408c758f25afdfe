package container

import (
	"strings"

	"github.com/merlon/merlon/internal/event"
)

// Info is what a cgroup path tells.
type Info struct {
	Path      event.Text
	Container *event.Container // nil outside containers
	Service   string           // innermost systemd unit that is not itself a container
	Slice     string           // innermost systemd slice
}

// The runtimes of event.Container.
const (
	docker     = "docker"
	containerd = "containerd"
	crio       = "cri-o"
	podman     = "podman"
	lxc        = "lxc"
	nspawn     = "systemd-nspawn"
	unknown    = "unknown"
)

// prefixes are what runtimes put before the id in a component's name.
var prefixes = map[string]string{
	"docker":         docker,
	"cri-containerd": containerd,
	"containerd":     containerd,
	"nerdctl":        containerd,
	"crio":           crio,
	"libpod":         podman,
	"libpod-payload": podman, // podman --cgroups=split
	"podman":         podman,
}

// parents are the components under which a runtime puts a bare id.
var parents = map[string]string{
	"docker":        docker,
	"moby":          docker, // containerd's namespace for Docker
	"default":       containerd,
	"k8s.io":        containerd,
	"libpod_parent": podman,
	"lxc":           lxc,
	"lxc.payload":   lxc,
}

// Parse tells what a cgroup path says about the processes in it. Nested
// containers give the innermost, with the innermost pod. Whatever the path
// holds, ids and unit names come out as plain ASCII.
//
// Sources: Docker, containerd, CRI-O, Podman and LXC name cgroups as in the
// table of parse_test.go; systemd as in systemd.unit(5) and systemd.slice(5);
// the kubelet as in its cgroup_manager_linux.go.
func Parse(path string) Info {
	s := parser{info: Info{Path: event.Text(path)}}
	for rest := path; rest != ""; {
		var comp string
		comp, rest, _ = strings.Cut(rest, "/")
		if comp != "" {
			next, _, _ := strings.Cut(rest, "/")
			s.component(comp, next)
			s.before, s.last = s.last, comp
		}
	}
	if s.found {
		s.container.Pod = s.pod
		s.info.Container = &s.container
	}
	return s.info
}

type parser struct {
	info         Info
	container    event.Container
	found        bool
	pod          string
	kube, ecs    bool
	last, before string // the components above
}

func (s *parser) component(comp, next string) {
	if left, id, ok := cutTwice(comp); ok { // "kubepods-…-podUID.slice:cri-containerd:ID"
		s.slicePod(left.name)
		if runtime := prefixes[left.prefix]; runtime != "" && identifier(id) {
			s.set(id, runtime)
		}
		return
	}
	if slice, ok := strings.CutSuffix(comp, ".slice"); ok {
		if unitName(slice) {
			s.info.Slice = comp
			s.slicePod(comp)
		}
		return
	}
	if name, ok := strings.CutSuffix(comp, ".scope"); ok {
		if s.prefixed(name) || s.machine(name, next) {
			return
		}
		s.unit(comp, name)
		return
	}
	for _, suffix := range [...]string{".service", ".mount", ".socket", ".swap"} {
		if name, ok := strings.CutSuffix(comp, suffix); ok && unitName(name) {
			if machine, ok := strings.CutPrefix(name, "systemd-nspawn@"); ok {
				s.nspawn(machine, next)
			}
			s.unit(comp, name)
			return
		}
	}
	s.plain(comp)
}

// plain handles a component that systemd has not made.
func (s *parser) plain(comp string) {
	switch {
	case comp == "kubepods":
		s.kube = true
	case comp == "ecs":
		s.ecs = true
	case s.kube && strings.HasPrefix(comp, "pod") && podUID(comp[3:]):
		s.pod = strings.ReplaceAll(comp[3:], "_", "-")
	case s.prefixed(comp):
	case s.last == "lxc" || s.last == "lxc.payload":
		if identifier(comp) {
			s.set(comp, lxc)
		}
	case strings.HasPrefix(comp, "lxc.payload."):
		if name := comp[len("lxc.payload."):]; identifier(name) {
			s.set(name, lxc)
		}
	case hexID(comp):
		runtime := parents[s.last]
		if runtime == "" {
			runtime = unknown
		}
		s.set(comp, runtime)
	case s.last == "default" && s.before == "" && identifier(comp): // ctr run
		s.set(comp, containerd)
	case s.last == "buildkit" && s.before == "docker" && len(comp) == 25 && identifier(comp):
		s.set(comp, docker)
	case s.ecs && taskID(comp):
		s.set(comp, unknown)
	}
}

// prefixed handles "RUNTIME-ID". Its monitors, "RUNTIME-conmon-ID", run
// outside the container.
func (s *parser) prefixed(name string) bool {
	i := strings.LastIndexByte(name, '-')
	if i <= 0 || !hexID(name[i+1:]) || strings.HasSuffix(name[:i], "conmon") {
		return false
	}
	runtime := prefixes[name[:i]]
	if runtime == "" {
		runtime = unknown
	}
	s.set(name[i+1:], runtime)
	return true
}

// machine handles "machine-NAME.scope", made by systemd-machined for
// systemd-nspawn and libvirt. Virtual machines are no containers.
func (s *parser) machine(name, next string) bool {
	name, ok := strings.CutPrefix(name, "machine-")
	if !ok || s.last != "machine.slice" {
		return false
	}
	name = strings.ReplaceAll(name, `\x2d`, "-")
	if strings.HasPrefix(name, "qemu-") {
		return false
	}
	if rest, ok := strings.CutPrefix(name, "lxc-"); ok { // libvirt: lxc-PID-NAME
		if _, rest, ok = strings.Cut(rest, "-"); ok && identifier(rest) {
			s.set(rest, lxc)
			return true
		}
	}
	return s.nspawn(name, next)
}

// nspawn handles a container of systemd-nspawn, whose own process lives beside
// the payload in "supervisor".
func (s *parser) nspawn(name, next string) bool {
	name = strings.ReplaceAll(name, `\x2d`, "-")
	if next == "supervisor" || !identifier(name) {
		return false
	}
	s.set(name, nspawn)
	return true
}

// slicePod takes the pod of "kubepods-burstable-podUID.slice".
func (s *parser) slicePod(slice string) {
	if !strings.Contains(slice, "kubepods") {
		return
	}
	s.kube = true
	slice = strings.TrimSuffix(slice, ".slice")
	if i := strings.LastIndex(slice, "-pod"); i >= 0 && podUID(slice[i+4:]) {
		s.pod = strings.ReplaceAll(slice[i+4:], "_", "-")
	}
}

// unit takes a systemd unit; a leading underscore escapes the name of a
// controller (systemd's cg_escape).
func (s *parser) unit(comp, name string) {
	if unitName(name) {
		s.info.Service = strings.TrimPrefix(comp, "_")
	}
}

func (s *parser) set(id, runtime string) {
	s.container.ID, s.container.Runtime, s.found = id, runtime, true
}

type criName struct{ name, prefix string }

func cutTwice(comp string) (criName, string, bool) {
	name, rest, ok := strings.Cut(comp, ":")
	if !ok {
		return criName{}, "", false
	}
	prefix, id, ok := strings.Cut(rest, ":")
	return criName{name, prefix}, id, ok && prefixes[prefix] != ""
}

// hexID reports whether s is a full container id.
func hexID(s string) bool {
	if len(s) != 64 {
		return false
	}
	return only(s, func(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' })
}

// podUID accepts a UUID with dashes or underscores and the hash of a static pod.
func podUID(s string) bool {
	if len(s) != 36 && len(s) != 32 {
		return false
	}
	return only(s, func(c byte) bool {
		return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c == '-' || c == '_'
	})
}

// taskID accepts AWS Fargate's "TASK-NUMBER".
func taskID(s string) bool {
	task, number, ok := strings.Cut(s, "-")
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	return ok && len(task) == 32 && len(number) >= 6 && len(number) <= 12 && only(number, digit) &&
		only(task, func(c byte) bool { return digit(c) || c >= 'a' && c <= 'f' })
}

// identifier accepts the names runtimes allow: letters, digits, "_.-".
func identifier(s string) bool {
	return s != "" && len(s) <= 128 && s[0] != '.' && only(s, func(c byte) bool {
		return alnum(c) || c == '_' || c == '.' || c == '-'
	})
}

// unitName accepts the characters of systemd.unit(5).
func unitName(s string) bool {
	return s != "" && len(s) <= 255 && only(s, func(c byte) bool {
		return alnum(c) || strings.IndexByte(`:-_.\@`, c) >= 0
	})
}

func alnum(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' }

func only(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}
