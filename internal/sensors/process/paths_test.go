package process

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
)

func ptr[T any](s []T) uintptr { return uintptr(unsafe.Pointer(&s[0])) }

func role(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{"role"}, args...)
	cmd.Env = []string{"MERLON_TEST_ROLE=" + name}
	cmd.Stderr = os.Stderr
	return cmd
}

// runRole runs a role that ends in an exec of its own and returns that exec.
func (h *harness) runRole(cmd *exec.Cmd) *event.Event {
	h.t.Helper()
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	_ = cmd.Wait() // the exit status is the program's
	return h.wait("second exec of the child", func(ev *event.Event) bool {
		return ev.Kind == event.KindExec && ev.Process.PID == uint32(cmd.Process.Pid) && ev.Process.Args[0] != "role"
	})
}

func TestUnnamed(t *testing.T) {
	h := start(t)
	f := h.runRole(role("memfd")).Process.File
	if !f.Memfd || !f.Deleted || f.Path != "memfd:hidden name" || f.Unresolved != "outside_root" {
		t.Errorf("memfd: %+v", f)
	}
	path := filepath.Join(t.TempDir(), "gone")
	f = h.runRole(role("deleted", path)).Process.File
	if f.Memfd || !f.Deleted || f.Links != 0 || f.Path != event.Text(path) {
		t.Errorf("deleted: %+v", f)
	}
}

func TestThreadExec(t *testing.T) {
	h := start(t)
	prog := install(t, t.TempDir(), "p", 9, 0o755)
	cmd := role("threadexec", prog)
	cmd.Args = []string{"role", prog}
	ev := h.runRole(cmd)
	first := h.of(event.KindExec, cmd.Process.Pid)
	if ev.Process.Key() != first.Process.Key() {
		t.Errorf("identity changed by exec from a thread: %+v, was %+v", ev.Process.Key(), first.Process.Key())
	}
	if x := h.of(event.KindExit, cmd.Process.Pid); x.Exit.Code != 9 || x.Process.Key() != first.Process.Key() {
		t.Errorf("exit %+v of %+v", x.Exit, x.Process.Key())
	}
}

// inMountNS runs f on a thread with a mount namespace of its own, which ends
// with it.
func inMountNS(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	var on func()
	on = func() {
		runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
		if unix.Gettid() == os.Getpid() {
			go on() // the leader can't die: park it here, take another thread
			<-done
			runtime.UnlockOSThread()
			return
		}
		defer close(done)
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil && err != unix.EINVAL {
			t.Errorf("make mounts private: %v", err)
			return
		}
		f()
	}
	go on()
	<-done
}

func TestPaths(t *testing.T) {
	h := start(t)
	dir := t.TempDir()
	deep := filepath.Join(dir, "root", "a", "b")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	install(t, deep, "prog", 0, 0o755)
	outside := install(t, dir, "outside", 0, 0o755)

	t.Run("chroot", func(t *testing.T) {
		h.t = t
		p := h.runRole(role("chroot", filepath.Join(dir, "root"), "/a", "/a/b/prog")).Process
		if p.Exe != "/a/b/prog" || p.CWD != "/a" || p.File.Unresolved != "" {
			t.Errorf("exe %q cwd %q %s", p.Exe, p.CWD, p.File.Unresolved)
		}
	})
	t.Run("root", func(t *testing.T) {
		h.t = t
		if p := h.runRole(role("chroot", filepath.Join(dir, "root"), "/", "/a/b/prog")).Process; p.CWD != "/" {
			t.Errorf("cwd %q", p.CWD)
		}
	})
	t.Run("outside chroot", func(t *testing.T) {
		h.t = t
		f, err := os.Open(outside)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		// TOMOYO refuses an exec whose name, here /dev/fd/3, leads nowhere
		fds := filepath.Join(dir, "root", "dev", "fd")
		if err := os.MkdirAll(fds, 0o755); err != nil {
			t.Fatal(err)
		}
		install(t, fds, "3", 0, 0o755)
		cmd := role("chroot", filepath.Join(dir, "root"), "/", "fd")
		cmd.ExtraFiles = []*os.File{f}
		p := h.runRole(cmd).Process
		if p.File.Unresolved != "outside_root" || !strings.HasSuffix(string(p.Exe), "outside") {
			t.Errorf("exe %q, unresolved %q", p.Exe, p.File.Unresolved)
		}
	})
	t.Run("bind mount", func(t *testing.T) {
		h.t = t
		inMountNS(t, func() {
			at := filepath.Join(dir, "mnt")
			if err := os.MkdirAll(at, 0o755); err != nil {
				t.Error(err)
				return
			}
			if err := unix.Mount(filepath.Join(dir, "root", "a"), at, "", unix.MS_BIND, ""); err != nil {
				t.Errorf("bind mount: %v", err)
				return
			}
			p := h.run(exec.Command(filepath.Join(at, "b", "prog"))).Process
			if p.Exe != event.Text(filepath.Join(at, "b", "prog")) || p.File.Unresolved != "" {
				t.Errorf("exe %q, unresolved %q", p.Exe, p.File.Unresolved)
			}
		})
	})
	t.Run("overlay", func(t *testing.T) { h.t = t; testOverlay(t, h) })
	t.Run("deep", func(t *testing.T) {
		h.t = t
		path := filepath.Join(dir, strings.Repeat("d/", 120))
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		p := h.run(exec.Command(install(t, path, "prog", 0, 0o755))).Process
		if p.File.Unresolved != "too_deep" || !strings.HasPrefix(string(p.Exe), "…/d/d/") || !strings.HasSuffix(string(p.Exe), "/d/prog") {
			t.Errorf("exe %q, unresolved %q", p.Exe, p.File.Unresolved)
		}
	})
	t.Run("hostile name", func(t *testing.T) {
		h.t = t
		path := install(t, dir, "a\nb\x1b]0;x\x07\xfe"+strings.Repeat("n", 200), 0, 0o755)
		if p := h.run(exec.Command(path)).Process; p.Exe != event.Text(path) {
			t.Errorf("exe %q, want %q", string(p.Exe), path)
		}
	})
}

func testOverlay(t *testing.T, h *harness) {
	inMountNS(t, func() {
		base := t.TempDir()
		if err := unix.Mount("tmpfs", base, "tmpfs", 0, ""); err != nil {
			t.Errorf("mount tmpfs: %v", err)
			return
		}
		defer unix.Unmount(base, unix.MNT_DETACH)
		d := func(n string) string { return filepath.Join(base, n) }
		for _, n := range []string{"lower", "upper", "work", "merged"} {
			if err := os.Mkdir(d(n), 0o755); err != nil {
				t.Error(err)
				return
			}
		}
		install(t, d("lower"), "image", 0, 0o755)
		opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", d("lower"), d("upper"), d("work"))
		if err := unix.Mount("overlay", d("merged"), "overlay", 0, opts); err != nil {
			t.Skipf("mount overlay: %v (this kernel has no overlayfs)", err)
		}
		defer unix.Unmount(d("merged"), unix.MNT_DETACH)
		install(t, d("merged"), "dropped", 0, 0o755)
		for name, upper := range map[string]bool{"image": false, "dropped": true} {
			f := h.run(exec.Command(filepath.Join(d("merged"), name))).Process.File
			if f.Upper != upper || f.FS != "overlay" || f.Path != event.Text(filepath.Join(d("merged"), name)) {
				t.Errorf("%s: upper %v, want %v; %+v", name, f.Upper, upper, f)
			}
		}
	})
}

// TestSockets starts programs with connections as standard input: the mark of
// a reverse shell.
func TestSockets(t *testing.T) {
	h := start(t)
	prog := install(t, t.TempDir(), "p", 0, 0o755)
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(addr, func(t *testing.T) {
			h.t = t
			l, err := net.Listen("tcp", addr)
			if err != nil {
				t.Skipf("listen on %s: %v", addr, err)
			}
			defer l.Close()
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			f, err := conn.(*net.TCPConn).File()
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			cmd := exec.Command(prog)
			cmd.Stdin = f
			local, remote := conn.LocalAddr().(*net.TCPAddr), conn.RemoteAddr().(*net.TCPAddr)
			want := &event.Socket{Family: "inet", Type: "stream", Protocol: 6, State: "established",
				LocalAddr: local.IP.String(), LocalPort: uint16(local.Port),
				RemoteAddr: remote.IP.String(), RemotePort: uint16(remote.Port)}
			if strings.HasPrefix(addr, "[") {
				want.Family = "inet6"
			}
			fd := h.run(cmd).Exec.FDs[0]
			if d := cmp.Diff(want, fd.Socket); d != "" || fd.Type != "socket" {
				t.Errorf("%s (-want +got):\n%s", fd.Type, d)
			}
		})
	}
	t.Run("unix", func(t *testing.T) {
		h.t = t
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		a, b := os.NewFile(uintptr(pair[0]), "a"), os.NewFile(uintptr(pair[1]), "b")
		defer a.Close()
		defer b.Close()
		cmd := exec.Command(prog)
		cmd.Stdin = a
		s := h.run(cmd).Exec.FDs[0].Socket
		if s == nil || s.Family != "unix" || s.Type != "stream" || s.PeerPID != uint32(os.Getpid()) {
			t.Errorf("unix socket: %+v", s)
		}
	})
	t.Run("closed", func(t *testing.T) {
		h.t = t
		cmd := role("closed", prog)
		fds := h.runRole(cmd).Exec.FDs
		if fds[0].Type != "closed" || fds[1].Type != "closed" || fds[2].Type != "closed" {
			t.Errorf("closed descriptors: %+v", fds)
		}
	})
}

func TestTTYAndSession(t *testing.T) {
	h := start(t)
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("open a pseudo terminal: %v (no devpts here)", err)
	}
	defer ptmx.Close()
	n, err := unix.IoctlGetInt(int(ptmx.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("open the terminal's slave: %v (no devpts here)", err)
	}
	defer tty.Close()
	cmd := exec.Command(install(t, t.TempDir(), "p", 0, 0o755))
	cmd.Stdin = tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	ev := h.run(cmd)
	if p := ev.Process; p.TTY != event.Text(fmt.Sprintf("pts%d", n)) || p.SID != p.PID || p.PGID != p.PID {
		t.Errorf("tty %q sid %d pgid %d of pid %d", p.TTY, p.SID, p.PGID, p.PID)
	}
	if fd := ev.Exec.FDs[0]; fd.Type != "char" || fd.Inode == 0 {
		t.Errorf("fd 0: %+v", fd)
	}
}

func TestNamespaces(t *testing.T) {
	h := start(t)
	cmd := exec.Command(install(t, t.TempDir(), "p", 0, 0o755))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET}
	p, self := h.run(cmd).Process, procProcess(uint32(os.Getpid()))
	if p.NSPID != 1 {
		t.Errorf("pid in its own namespace %d, want 1", p.NSPID)
	}
	a, b := p.NS, self.NS
	if a.PID == b.PID || a.Mnt == b.Mnt || a.UTS == b.UTS || a.IPC == b.IPC || a.Net == b.Net || a.User != b.User || a.Cgroup != b.Cgroup {
		t.Errorf("namespaces %+v, the parent's %+v", a, b)
	}
}
