package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/merlon/merlon/internal/event"
)

// present returns those of the BPF programs that still exist.
func present(ids []uint32) []uint32 {
	var there []uint32
	for _, id := range ids {
		if p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id)); err == nil {
			there = append(there, id)
			_ = p.Close()
		}
	}
	return there
}

func (a *agent) programs() []uint32 {
	var ids []uint32
	for _, p := range a.status().Programs {
		ids = append(ids, p.ID)
	}
	return ids
}

// mounts counts the mounts of the file systems that the agent may mount.
func mounts(t *testing.T) map[string]int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for line := range strings.Lines(string(b)) {
		_, fs, _ := strings.Cut(line, " - ")
		name, _, _ := strings.Cut(fs, " ")
		if slices.Contains([]string{"bpf", "tracefs", "securityfs", "cgroup2"}, name) {
			n[name]++
		}
	}
	return n
}

// gone waits until none of the programs exists: the kernel frees them a moment
// after their last reference.
func (a *agent) gone(ids []uint32) {
	a.t.Helper()
	a.eventually("the programs are gone", func() (bool, string) {
		left := present(ids)
		return len(left) == 0, fmt.Sprintf("%v of %v are there", left, ids)
	})
}

func TestInterruptLeavesNothing(t *testing.T) {
	needRoot(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		before := mounts(t)
		a := start(t)
		ids := a.programs()
		if len(present(ids)) == 0 {
			t.Fatal("the agent has no programs in the kernel")
		}
		if err := a.stop(sig); err != nil {
			t.Errorf("%v: the agent ends with %v", sig, err)
		}
		a.gone(ids)
		if after := mounts(t); !maps.Equal(before, after) {
			t.Errorf("%v: mounts before %v, after %v", sig, before, after)
		}
		if _, err := os.Lstat("/sys/fs/bpf/merlon"); err == nil {
			t.Errorf("%v: there is /sys/fs/bpf/merlon", sig)
		}
		if _, err := os.Lstat(a.socket); err == nil {
			t.Errorf("%v: the socket is left", sig)
		}
		if !strings.Contains(a.out.String(), "Merlon saw") {
			t.Errorf("%v: no summary:\n%s", sig, tail(a.out.String(), 5))
		}
	}
}

func TestKillLeavesNoHook(t *testing.T) {
	a := start(t)
	ids := a.programs()
	if err := a.stop(syscall.SIGKILL); err == nil {
		t.Error("a killed agent ends well")
	}
	a.gone(ids)
	// The next one takes over what is left: lock, socket, mounts.
	b := prepare(t, withState(a.state))
	b.cmd.Args[slices.Index(b.cmd.Args, "--socket")+1] = a.socket
	b.client = a.client
	b.launch()
	b.eventually("the next agent answers", func() (bool, string) {
		st, err := b.client.Status(context.Background(), 0)
		return err == nil && st.PID == b.cmd.Process.Pid, fmt.Sprint(err)
	})
	if st := b.status(); len(st.Degraded) > 0 {
		t.Errorf("it is degraded: %+v", st.Degraded)
	}
}

func TestSecondAgentIsRefused(t *testing.T) {
	a := start(t)
	pid := fmt.Sprint(a.cmd.Process.Pid)
	_, stderr, code := merlon(t, 0, "run", "--state-dir", a.state, "--socket", filepath.Join(t.TempDir(), "s"))
	if code != 1 || !strings.Contains(stderr, "pid "+pid) || !strings.Contains(stderr, "cure:") {
		t.Errorf("exits with %d: %s", code, stderr)
	}
	if _, err := os.Lstat(a.socket); err != nil {
		t.Errorf("the first one's socket: %v", err)
	}
}

// A second agent is refused for the socket alone, even where the state
// directory can't tell of the first.
func TestSocketTaken(t *testing.T) {
	a := start(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{filepath.Join(t.TempDir(), "state"), filepath.Join(file, "state")} {
		_, stderr, code := merlon(t, 0, "run", "--state-dir", state, "--socket", a.socket)
		if code != 1 || !strings.Contains(stderr, fmt.Sprintf("pid %d", a.cmd.Process.Pid)) || !strings.Contains(stderr, "cure:") {
			t.Errorf("with state directory %s it exits with %d: %s", state, code, stderr)
		}
	}
	a.status() // the first one still answers
}

func TestWithoutRights(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for _, command := range []string{"run", "check"} {
		args := []string{command}
		if command == "run" {
			args = append(args, "--state-dir", filepath.Join(dir, "state"), "--socket", filepath.Join(dir, "socket"))
		}
		_, stderr, code := merlon(t, 65534, args...)
		if code != 1 || !strings.Contains(stderr, "CAP_") || !strings.Contains(stderr, "make demo") {
			t.Errorf("%s exits with %d: %s", command, code, stderr)
		}
	}
	stdout, _, code := merlon(t, 65534, "check", "--json")
	if code != 1 || !strings.Contains(stdout, "CAP_") || !strings.Contains(stdout, "make demo") {
		t.Errorf("check --json exits with %d: %s", code, stdout)
	}

	a := start(t, withConfig("api:\n  read_uids: [12345]\n"))
	for _, d := range []string{a.dir, filepath.Dir(a.dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, stderr, code := merlon(t, 65534, "status", "--socket", a.socket); code != 1 || !strings.Contains(stderr, "user 65534 may not read") {
		t.Errorf("a stranger's status exits with %d: %s", code, stderr)
	}
	if _, stderr, code := merlon(t, 12345, "status", "--cost", "0", "--socket", a.socket); code != 0 {
		t.Errorf("a reader's status exits with %d: %s", code, stderr)
	}
	if _, stderr, code := merlon(t, 12345, "log-level", "debug", "--socket", a.socket); code != 1 || !strings.Contains(stderr, "may read but not change") {
		t.Errorf("a reader's change exits with %d: %s", code, stderr)
	}
}

// A full disk costs the stored alerts until there is room; events and alerts
// go on, and the status tells.
func TestFullDisk(t *testing.T) {
	needRoot(t)
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("can't mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	filler := filepath.Join(disk, "filler")
	if err := os.WriteFile(filler, make([]byte, 64<<10), 0o600); err == nil {
		t.Log("the disk took all of the filler")
	}
	a := start(t, withState(filepath.Join(disk, "state")))
	pid := do(t, "memfd", "e2e-disk")
	a.awaitAlert("exec-memfd", pid)
	a.eventually("the status tells of the store", func() (bool, string) {
		st := a.status()
		return slices.ContainsFunc(st.Degraded, func(d apiDegraded) bool { return d.Part == "store" && d.Cure != "" }), fmt.Sprintf("degraded: %+v", st.Degraded)
	})
	out, _, code := merlon(t, 0, "status", "--cost", "0", "--socket", a.socket)
	if code != 0 || !strings.Contains(out, "degraded") || !strings.Contains(out, "cure:") {
		t.Errorf("status (exit %d):\n%s", code, out)
	}
	// With room again, what waited is written.
	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=16m"); err != nil {
		t.Fatal(err)
	}
	a.eventually("the store works again", func() (bool, string) {
		st := a.status()
		return len(st.Degraded) == 0, fmt.Sprintf("degraded: %+v", st.Degraded)
	})
	if err := a.stop(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	start(t, withState(a.state)).awaitAlert("exec-memfd", pid)
}

// Nothing is attached to system calls, and nothing but what the sensor needs.
func TestHooks(t *testing.T) {
	a := start(t)
	st := a.status()
	if len(st.Hooks) == 0 {
		t.Fatal("no hooks")
	}
	for _, h := range st.Hooks {
		if strings.Contains(h, "sys_enter") || strings.Contains(h, "sys_exit") || strings.Contains(h, "syscalls") {
			t.Errorf("attached to system calls: %s", h)
		}
	}
	for _, f := range st.Features {
		if f.Essential && f.Guarantee == event.Absent {
			t.Errorf("essential feature absent: %+v", f)
		}
	}
}
