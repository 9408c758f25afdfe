package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func roleOpen() (any, error) {
	k, err := Open(context.Background(), Options{})
	if err != nil {
		return nil, err
	}
	return nil, k.Close()
}

func TestOpenWithoutRoot(t *testing.T) {
	needRoot(t)
	cmd := child("open", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
	var e Error
	output(t, cmd, &e)
	if !strings.Contains(e.Cause, "CAP_BPF") || !strings.Contains(e.Cure, "make demo") {
		t.Errorf("got %+v, want the missing capability and the way out", e)
	}
}

func TestOpenInUserNamespace(t *testing.T) {
	needRoot(t)
	if _, err := os.Stat("/proc/self/ns/user"); err != nil {
		t.Skip("needs user namespaces: this kernel has none")
	}
	m := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	cmd := child("open", &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: m, GidMappings: m})
	var e Error
	output(t, cmd, &e)
	if !strings.Contains(e.Cause, "user namespace") || e.Cure == "" {
		t.Errorf("got %+v, want the user namespace named", e)
	}
}

// roleSeccomp opens the kernel under a filter as container engines install
// it: bpf(2) gives EPERM.
func roleSeccomp() (any, error) {
	runtime.LockOSThread()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_BPF, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return nil, fmt.Errorf("install seccomp filter: %w", errno)
	}
	return roleOpen()
}

func TestOpenUnderSeccomp(t *testing.T) {
	needRoot(t)
	var e Error
	output(t, child("seccomp", nil), &e)
	if !strings.Contains(e.Cause, "seccomp") || !strings.Contains(e.Cure, "seccomp") {
		t.Errorf("got %+v, want seccomp named", e)
	}
}

func TestOpenBTF(t *testing.T) {
	needRoot(t)
	_, err := Open(context.Background(), Options{BTFPath: filepath.Join(t.TempDir(), "none")})
	e := (*Error)(nil)
	if !errors.As(err, &e) || !errors.Is(err, os.ErrNotExist) || e.Cure == "" {
		t.Errorf("a missing file gives %v, want a cause and a cure", err)
	}
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte("not type information"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), Options{BTFPath: garbage}); !errors.As(err, &e) {
		t.Errorf("garbage gives %v, want an *Error", err)
	}
	own, err := os.ReadFile("/sys/kernel/btf/vmlinux")
	if err != nil {
		t.Skip("needs /sys/kernel/btf/vmlinux: this kernel has none")
	}
	path := filepath.Join(t.TempDir(), "vmlinux.btf")
	if err := os.WriteFile(path, own, 0o600); err != nil {
		t.Fatal(err)
	}
	k := open(t, func(o *Options) { o.BTFPath = path })
	if k.Environment().BTF != path {
		t.Errorf("BTF comes from %q, want %q", k.Environment().BTF, path)
	}
	attach(t, load(t, k, "unit", 1, "t_exec"), "t_exec")
}

// roleMounts works in a mount namespace of its own, where none of the kernel's
// filesystems is mounted at first.
func roleMounts() (any, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	before, err := unmountAll()
	if err != nil {
		return nil, err
	}
	o := Options{Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	a, err := Open(context.Background(), o)
	if err != nil {
		return nil, err
	}
	env := a.Environment()
	for name, path := range map[string]string{"tracefs": env.Tracefs, "securityfs": env.Securityfs, "bpf": env.BPFFS, "cgroup2": env.CgroupPath} {
		if path == "" {
			return nil, fmt.Errorf("%s is not mounted", name)
		}
	}
	// A second agent uses what the first mounted, and outlives it.
	b, err := Open(context.Background(), o)
	if err != nil {
		return nil, err
	}
	if err := a.Close(); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(b.Environment().CgroupPath, "cgroup.procs")); err != nil {
		return nil, fmt.Errorf("the first agent took the second's mount: %w", err)
	}
	if err := b.Close(); err != nil {
		return nil, err
	}
	after, err := readMounts()
	if err != nil {
		return nil, err
	}
	for _, m := range after {
		if !slices.Contains(before, m) {
			return nil, fmt.Errorf("%s stays mounted at %s", m.fstype, m.path)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "merlon-cgroup2-*")); len(left) > 0 {
		return nil, fmt.Errorf("left behind: %v", left)
	}
	return "clean", nil
}

// unmountAll unmounts the kernel's filesystems and returns what remains.
func unmountAll() ([]mountPoint, error) {
	mounts, err := readMounts()
	if err != nil {
		return nil, err
	}
	for _, m := range slices.Backward(mounts) {
		if slices.ContainsFunc(kernelFS, func(fs struct {
			fstype string
			magic  int64
		}) bool {
			return fs.fstype == m.fstype
		}) {
			if err := unix.Unmount(m.path, unix.MNT_DETACH); err != nil {
				return nil, fmt.Errorf("unmount %s: %w", m.path, err)
			}
		}
	}
	return readMounts()
}

func TestMountsAreUndone(t *testing.T) {
	needRoot(t)
	var answer any
	output(t, child("mounts", &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}), &answer)
	if answer != "clean" {
		t.Errorf("%v", answer)
	}
}

func TestEnvironment(t *testing.T) {
	env := open(t).Environment()
	if want := readFile("/proc/sys/kernel/osrelease"); env.Release != want || env.Arch != runtime.GOARCH {
		t.Errorf("release %q on %q, want %q on %q", env.Release, env.Arch, want, runtime.GOARCH)
	}
	if lsm := readFile("/sys/kernel/security/lsm"); strings.Join(env.LSMs, ",") != lsm {
		t.Errorf("security modules %v, want %s", env.LSMs, lsm)
	}
	if !slices.Contains([]string{"v1", "hybrid", "v2"}, env.CgroupMode) {
		t.Errorf("cgroup mode %q", env.CgroupMode)
	}
	if _, err := os.Stat(filepath.Join(env.CgroupPath, "cgroup.controllers")); err != nil {
		t.Errorf("the unified hierarchy is not at %q: %v", env.CgroupPath, err)
	}
	if env.UserNS || env.PIDNS {
		t.Errorf("in a namespace: %+v", env)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	k := open(t)
	u := load(t, k, "unit", 1, "t_exec", "t_point", "t_rename", "t_iter")
	for _, p := range []string{"t_exec", "t_point", "t_rename", "t_iter"} {
		attach(t, u, p)
	}
	o := objectsOf(k)
	if len(o.Programs) != 4 || len(o.Links) < 3 || len(o.Maps) < 4 {
		t.Fatalf("counted %+v", o)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if left := o.left(); len(left) > 0 {
		t.Errorf("left in the kernel: %v", left)
	}
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, _ := os.Readlink(fd); strings.Contains(to, "bpf") {
			t.Errorf("left open: %s", to)
		}
	}
	if err := k.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

// roleHold attaches programs and then waits to be killed.
func roleHold() (any, error) {
	k, err := Open(context.Background(), Options{})
	if err != nil {
		return nil, err
	}
	spec, err := loadUnit()
	if err != nil {
		return nil, err
	}
	u, err := k.Load(spec, LoadOptions{Name: "hold", Programs: []string{"t_exec", "t_point"}})
	if err != nil {
		return nil, err
	}
	for _, p := range []string{"t_exec", "t_point"} {
		if err := u.Attach(p); err != nil {
			return nil, err
		}
	}
	return objectsOf(k), nil
}

func TestKillLeavesNoHook(t *testing.T) {
	needRoot(t)
	cmd := child("hold", nil)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var o objects
	decodeErr := decodeLine(out, &o)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if decodeErr != nil || len(o.Programs) != 2 || len(o.Links) == 0 {
		t.Fatalf("the child held %+v, %v", o, decodeErr)
	}
	if left := o.left(); len(left) > 0 {
		t.Errorf("left after SIGKILL: %v", left)
	}
	open(t) // undoes what the killed one mounted
}
