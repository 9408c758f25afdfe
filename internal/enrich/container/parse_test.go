package container

import (
	"strings"
	"testing"

	"github.com/merlon/merlon/internal/event"
)

const (
	id1 = "3ec1a3b7cf9d1f4c8e0a4c5f2b6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f"
	id2 = "e5f60718293a4b5c6d7e8f3ec1a3b7cf9d1f4c8e0a4c5f2b6d7e8f90a1b2c3d4"
	uid = "6c1f5f3e-9a52-4c0e-8f0a-2b7d1e4c9a10"
	und = "6c1f5f3e_9a52_4c0e_8f0a_2b7d1e4c9a10"
	md5 = "d41d8cd98f00b204e9800998ecf8427e" // a static pod's uid
)

// paths are as they are met on real hosts: container, runtime, pod, service,
// slice. ID, ID2, UID, UND and MD5 stand for the constants above.
const paths = `
# Docker: cgroupfs driver, systemd driver, rootless, nested, BuildKit
/docker/ID | ID docker - - -
/docker/ID/init | ID docker - - -
/system.slice/docker-ID.scope | ID docker - - system.slice
/system.slice/docker-ID.scope/system.slice/nginx.service | ID docker - nginx.service system.slice
/system.slice/docker-ID.scope/init.scope | ID docker - init.scope system.slice
/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope | ID docker - user@1000.service user.slice
/user.slice/user-1000.slice/user@1000.service/app.slice/docker.service/docker/ID | ID docker - docker.service app.slice
/docker/ID/docker/ID2 | ID2 docker - - -
/my.slice/docker-ID.scope | ID docker - - my.slice
/docker/buildkit/4xkl0ipmdyb2nkn5bkpw0o8qj | 4xkl0ipmdyb2nkn5bkpw0o8qj docker - - -
/system.slice/docker.service | - - - docker.service system.slice
/system.slice/docker.socket | - - - docker.socket system.slice
/moby/ID | ID docker - - -
/actions_job/ID | ID unknown - - -
# containerd: ctr, nerdctl
/default/redis | redis containerd - - -
/default/ID | ID containerd - - -
/k8s.io/ID | ID containerd - - -
/system.slice/nerdctl-ID.scope | ID containerd - - system.slice
/system.slice/containerd.service | - - - containerd.service system.slice
# Kubernetes, systemd driver: containerd, CRI-O, Docker; QoS classes
/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUND.slice/cri-containerd-ID.scope | ID containerd UID - kubepods-burstable-podUND.slice
/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podUND.slice/cri-containerd-ID.scope | ID containerd UID - kubepods-besteffort-podUND.slice
/kubepods.slice/kubepods-podUND.slice/cri-containerd-ID.scope | ID containerd UID - kubepods-podUND.slice
/kubepods.slice/kubepods-podMD5.slice/crio-ID.scope | ID cri-o MD5 - kubepods-podMD5.slice
/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUND.slice/crio-ID.scope/container | ID cri-o UID - kubepods-burstable-podUND.slice
/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUND.slice/crio-conmon-ID.scope | - - - crio-conmon-ID.scope kubepods-burstable-podUND.slice
/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUND.slice/docker-ID.scope | ID docker UID - kubepods-burstable-podUND.slice
/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUND.slice | - - - - kubepods-burstable-podUND.slice
# ... cgroupfs driver
/kubepods/burstable/podUID/ID | ID unknown UID - -
/kubepods/besteffort/podUID/ID | ID unknown UID - -
/kubepods/podUID/ID | ID unknown UID - -
/kubepods/burstable/podMD5/ID | ID unknown MD5 - -
/kubepods/besteffort/podUID/crio-ID | ID cri-o UID - -
/kubepods/burstable/podUID | - - - - -
# ... the runtime's driver differs from the kubelet's
/system.slice/containerd.service/kubepods-burstable-podUND.slice:cri-containerd:ID | ID containerd UID containerd.service system.slice
/kubepods-besteffort-podUND.slice:cri-containerd:ID | ID containerd UID - -
# ... in kind, in minikube, and Docker in a pod
/docker/ID/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podUND.slice/cri-containerd-ID2.scope | ID2 containerd UID - kubelet-kubepods-burstable-podUND.slice
/system.slice/docker-ID.scope/kubelet/kubepods/burstable/podUID/ID2 | ID2 unknown UID - system.slice
/system.slice/docker-ID.scope/kubelet.slice/kubelet.service | ID docker - kubelet.service kubelet.slice
/kubepods/burstable/podUID/ID/docker/ID2 | ID2 docker UID - -
/system.slice/k3s.service | - - - k3s.service system.slice
/system.slice/kubelet.service | - - - kubelet.service system.slice
# Podman: as root, rootless, in a pod, split cgroups, cgroupfs, its monitor
/machine.slice/libpod-ID.scope | ID podman - - machine.slice
/machine.slice/libpod-ID.scope/container | ID podman - - machine.slice
/machine.slice/libpod-conmon-ID.scope | - - - libpod-conmon-ID.scope machine.slice
/machine.slice/machine-libpod_pod_ID2.slice/libpod-ID.scope/container | ID podman - - machine-libpod_pod_ID2.slice
/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container | ID podman - user@1000.service user.slice
/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_ID2.slice/libpod-ID.scope | ID podman - user@1000.service user-libpod_pod_ID2.slice
/user.slice/user-1000.slice/user@1000.service/user.slice/podman-4242.scope | - - - podman-4242.scope user.slice
/system.slice/web.service/libpod-payload-ID | ID podman - web.service system.slice
/system.slice/web.service/runtime | - - - web.service system.slice
/libpod_parent/libpod-ID | ID podman - - -
/libpod_parent/ID | ID podman - - -
# LXC, LXD, Incus, Proxmox, libvirt
/lxc/web01 | web01 lxc - - -
/lxc/101/ns/system.slice/ssh.service | 101 lxc - ssh.service system.slice
/lxc.payload.web01 | web01 lxc - - -
/lxc.payload.u1/user.slice/user-0.slice/session-c1.scope | u1 lxc - session-c1.scope user-0.slice
/lxc.payload/web01/init.scope | web01 lxc - init.scope -
/lxc.monitor.web01 | - - - - -
/lxc.monitor/web01 | - - - - -
/machine.slice/machine-lxc\x2d4411\x2dweb.scope | web lxc - - machine.slice
/machine.slice/machine-qemu\x2d1\x2ddebian.scope/libvirt/vcpu0 | - - - machine-qemu\x2d1\x2ddebian.scope machine.slice
# systemd-nspawn
/machine.slice/systemd-nspawn@deb.service/payload/system.slice/cron.service | deb systemd-nspawn - cron.service system.slice
/machine.slice/systemd-nspawn@my\x2dbox.service/payload | my-box systemd-nspawn - systemd-nspawn@my\x2dbox.service machine.slice
/machine.slice/systemd-nspawn@deb.service/supervisor | - - - systemd-nspawn@deb.service machine.slice
/machine.slice/machine-deb.scope/payload/init.scope | deb systemd-nspawn - init.scope machine.slice
/machine.slice/machine-deb.scope/supervisor | - - - machine-deb.scope machine.slice
# Amazon ECS
/ecs/0123456789abcdef0123456789abcdef/ID | ID unknown - - -
/ecs/0123456789abcdef0123456789abcdef/0123456789abcdef0123456789abcdef-2531612879 | 0123456789abcdef0123456789abcdef-2531612879 unknown - - -
/ecstasks.slice/ecstasks-0123456789abcdef0123456789abcdef.slice/docker-ID.scope | ID docker - - ecstasks-0123456789abcdef0123456789abcdef.slice
# systemd: system units, sessions, user managers
/init.scope | - - - init.scope -
/system.slice | - - - - system.slice
/system.slice/sshd.service | - - - sshd.service system.slice
/system.slice/nginx.service/worker | - - - nginx.service system.slice
/system.slice/system-getty.slice/getty@tty1.service | - - - getty@tty1.service system-getty.slice
/system.slice/system-postgresql.slice/postgresql@15-main.service | - - - postgresql@15-main.service system-postgresql.slice
/system.slice/run-user-1000.mount | - - - run-user-1000.mount system.slice
/system.slice/dev-disk-by\x2duuid-0a.swap | - - - dev-disk-by\x2duuid-0a.swap system.slice
/system.slice/sshd@4-10.0.0.1:22-10.0.0.9:51234.service | - - - sshd@4-10.0.0.1:22-10.0.0.9:51234.service system.slice
/system.slice/_memory.service | - - - memory.service system.slice
/user.slice/user-1000.slice/session-3.scope | - - - session-3.scope user-1000.slice
/user.slice/user-1000.slice/user@1000.service/init.scope | - - - init.scope user-1000.slice
/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-2211.scope | - - - app-gnome-firefox-2211.scope app.slice
/user.slice/user-1000.slice/user@1000.service/session.slice/pipewire.service | - - - pipewire.service session.slice
/user.slice/user-0.slice/user@0.service/app.slice/app-a\x2db.slice/run-u7.service | - - - run-u7.service app-a\x2db.slice
/azure.slice/walinuxagent.service | - - - walinuxagent.service azure.slice
# none of it
/ | - - - - -
/user/1000 | - - - - -
/process_api/8739245c00556d2e5f36b79d121c343a | - - - - -
/.service | - - - - -
/.slice/x | - - - - -
/default/.hidden | - - - - -
/a/default/b | - - - - -
/podUID/x | - - - - -
/../../docker/ID | ID docker - - -
`

func TestParse(t *testing.T) {
	full := strings.NewReplacer("ID2", id2, "UID", uid, "UND", und, "MD5", md5, "ID", id1)
	n := 0
	for line := range strings.Lines(paths) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		n++
		path, want, _ := strings.Cut(full.Replace(line), " | ")
		got := Parse(path)
		var c event.Container
		if got.Container != nil {
			c = *got.Container
		}
		fields := []string{c.ID, c.Runtime, c.Pod, got.Service, got.Slice}
		for i, f := range fields {
			if f == "" {
				fields[i] = "-"
			}
		}
		if s := strings.Join(fields, " "); s != want {
			t.Errorf("%s\n got %s\nwant %s", path, s, want)
		}
		if string(got.Path) != path {
			t.Errorf("%s: path became %s", path, got.Path)
		}
	}
	if n < 80 {
		t.Errorf("only %d paths were tried", n)
	}
}

func FuzzParse(f *testing.F) {
	for line := range strings.Lines(paths) {
		path, _, _ := strings.Cut(strings.TrimSpace(line), " | ")
		f.Add(strings.NewReplacer("ID2", id2, "UID", uid, "UND", und, "MD5", md5, "ID", id1).Replace(path))
	}
	f.Fuzz(func(t *testing.T, path string) {
		i := Parse(path)
		texts := []string{i.Service, i.Slice}
		if c := i.Container; c != nil {
			texts = append(texts, c.ID, c.Runtime, c.Pod)
			if c.ID == "" || c.Runtime == "" {
				t.Errorf("a container without id or runtime: %+v", c)
			}
		}
		for _, s := range texts {
			if s != event.Safe(s) || len(s) > 255+len(".service") || strings.Contains(s, "/") {
				t.Errorf("%q is not plain", s)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	path := "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + und + ".slice/cri-containerd-" + id1 + ".scope"
	b.ReportAllocs()
	for b.Loop() {
		Parse(path)
	}
}
