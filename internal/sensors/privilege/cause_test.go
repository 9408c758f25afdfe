package privilege

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"

	"github.com/merlon/merlon/internal/event"
)

// setuidSelf installs this binary as a setuid-root program that anybody can run.
func setuidSelf(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	path := filepath.Join(dir, "exe")
	to, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCauseSetuidFile: a setuid-root program makes itself root altogether.
func TestCauseSetuidFile(t *testing.T) {
	profiles(t, func(t *testing.T, full bool) {
		h := start(t, full, event.KindSetuid)
		w := h.need(event.KindSetuid, full)
		cmd := exec.Command(setuidSelf(t))
		cmd.Env, cmd.Dir = []string{"MERLON_TEST_ROLE=become"}, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1234, Gid: 4321}}
		a := h.await(cmd)
		if a.errno != 0 {
			t.Fatalf("the program could not become root: %v (is %s mounted nosuid?)", unix.Errno(a.errno), cmd.Path)
		}
		p := h.wait("setuid by the program", func(ev *event.Event) bool { // before it, the child gave up its own ids
			return ev.Thread.PID == uint32(a.pid) && ev.Privilege.Before.UID == 1234
		}).Privilege
		if p.Cause != "setuid_file" || p.Before.UID != 1234 || p.Before.EUID != 0 || p.Result != 0 {
			t.Errorf("cause %q, before %+v, result %d", p.Cause, p.Before, p.Result)
		}
		if w.by != byCapable && (p.After == nil || p.After.UID != 0 || p.After.GID != 4321) {
			t.Errorf("after: %+v", p.After)
		}
	})
}

// TestCauseOwner: a daemon takes back an id that it had put away.
func TestCauseOwner(t *testing.T) {
	profiles(t, func(t *testing.T, full bool) {
		h := start(t, full, event.KindSetuid)
		if w := h.need(event.KindSetuid, full); w.by == byCapable {
			t.Skip("no capability is checked for an id that the process has")
		}
		a := h.perform("back")
		ev := h.wait("the id taken back", func(ev *event.Event) bool {
			return ev.Thread.PID == uint32(a.pid) && ev.Privilege.Before.EUID == 1234
		})
		if p := ev.Privilege; p.Cause != "owner" || p.After.EUID != 0 || p.Before.Effective != 0 || ev.Thread.EUID != 1234 {
			t.Errorf("cause %q, before %+v, after %+v, acting as %d", p.Cause, p.Before, p.After, ev.Thread.EUID)
		}
	})
}

// TestCauseNone: who has no right is refused, and that is told where the hook
// comes before the verdict or after the call.
func TestCauseNone(t *testing.T) {
	profiles(t, func(t *testing.T, full bool) {
		h := start(t, full, event.KindSetuid)
		if w := h.need(event.KindSetuid, full); w.by == byAct {
			t.Skip("commit_creds tells of no refusal: nothing is committed")
		}
		a := h.perform("refused")
		p := h.by(a, event.KindSetuid, "setuid").Privilege
		if p.Cause != "none" || p.Result != -int(unix.EPERM) || p.After != nil || p.Before.UID != 1234 {
			t.Errorf("cause %q, result %d, before %+v, after %+v", p.Cause, p.Result, p.Before, p.After)
		}
	})
}

// TestCauses judges what no child can do for real on a sound kernel.
func TestCauses(t *testing.T) {
	user := event.Creds{UID: 1000, EUID: 1000, SUID: 1000, GID: 1000, EGID: 1000, SGID: 1000}
	root := event.Creds{Effective: 1<<41 - 1, Permitted: 1<<41 - 1}
	for name, c := range map[string]struct {
		kind          event.Kind
		before, after event.Creds
		ns            uint32
		want          string
	}{
		"exploit by setuid":    {event.KindSetuid, user, root, 0, "none"},
		"exploit by any call":  {event.KindCredChange, user, root, 0, "none"},
		"capabilities from it": {event.KindCapset, user, event.Creds{UID: 1000, EUID: 1000, SUID: 1000, Permitted: 1}, 0, "none"},
		"loses in any call":    {event.KindCredChange, root, event.Creds{}, 0, "owner"},
		"enters a namespace":   {event.KindCredChange, user, root, 77, "user_namespace"},
		"root gives up":        {event.KindSetuid, root, user, 0, "capability"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &part{before: c.before, after: c.after}
			p.priv.NS = c.ns
			r := &privilegePrivRec{Userns: initialUserNS}
			if got := cause(c.kind, p, r); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// TestUserNamespaces makes them by clone and by unshare.
func TestUserNamespaces(t *testing.T) {
	profiles(t, func(t *testing.T, full bool) {
		h := start(t, full, event.KindUsernsCreate, event.KindCredChange, event.KindUnshare)
		w := h.need(event.KindUsernsCreate, full)
		before := ownCreds(t)
		run := func(attr *syscall.SysProcAttr) (pid int, ns uint32) {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env, cmd.SysProcAttr = []string{"MERLON_TEST_ROLE=sleep"}, attr
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Skipf("this kernel lets nobody make a user namespace: %v", err)
			}
			var st unix.Stat_t
			if err := unix.Stat("/proc/"+itoa(cmd.Process.Pid)+"/ns/user", &st); err != nil {
				t.Fatal(err)
			}
			in.Close()
			_ = cmd.Wait() // it may lack the right to its own pipe by now
			return cmd.Process.Pid, uint32(st.Ino)
		}
		_, ns := run(&syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER})
		ev := h.wait("a namespace made by clone", func(ev *event.Event) bool {
			return ev.Kind == event.KindUsernsCreate && ev.Thread.PID == uint32(os.Getpid()) && ev.Privilege.NS == ns
		})
		got := *ev.Privilege
		if w.by == byAct && len(w.programs) != 1 || w.tier == acts[2].ways[0].tier {
			if got.Flags&unix.CLONE_NEWUSER == 0 {
				t.Errorf("flags %#x", got.Flags)
			}
		}
		got.Flags = 0 // what else Go asks of clone
		if d := cmp.Diff(&event.Privilege{Before: &before, Cause: "capability", Call: "clone", NS: ns, NSTypes: "user"}, &got); d != "" {
			t.Errorf("by clone (-want +got):\n%s", d)
		}

		if w.tier == acts[2].ways[3].tier {
			t.Log("by unshare: not on this kernel: " + feature(event.KindUsernsCreate, full).Why)
			return
		}
		pid, ns := run(&syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWUSER})
		a := &actor{pid: pid}
		p := h.by(a, event.KindUsernsCreate, "unshare").Privilege
		want := &event.Privilege{Before: p.Before, Cause: "capability", Call: "unshare", NS: ns, NSTypes: "user", Flags: unix.CLONE_NEWUSER}
		if d := cmp.Diff(want, p); d != "" {
			t.Errorf("by unshare (-want +got):\n%s", d)
		}
		if d := cmp.Diff(before, *p.Before); w.by == byAct && d != "" {
			t.Errorf("before (-want +got):\n%s", d)
		}
		if h.sensor.chosen[event.KindCredChange] == nil {
			t.Log("cred_change: not on this kernel: " + feature(event.KindCredChange, full).Why)
			return
		}
		p = h.by(a, event.KindCredChange, "unshare").Privilege
		if p.Cause != "user_namespace" || p.NS != ns || *p.Before != before || p.After == nil || p.After.Effective == 0 {
			t.Errorf("cred_change: %+v, after %+v", p, p.After)
		}
	})
}
