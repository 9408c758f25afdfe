package privilege

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/merlon/merlon/internal/event"
)

// actor is a child that has performed its role and waits.
type actor struct {
	told
	pid   int
	start uint64 // from /proc, so in steps of 10 ms
	cmd   *exec.Cmd
}

// perform runs a role to its end, but for the child's own.
func (h *harness) perform(role string, args ...string) *actor {
	h.t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append(cmd.Args, args...)
	cmd.Env = []string{"MERLON_TEST_ROLE=" + role, "GODEBUG=asyncpreemptoff=1"} // its signal ends a BPF load with EAGAIN
	return h.await(cmd)
}

// await starts cmd, which plays a role, and reads what it tells.
func (h *harness) await(cmd *exec.Cmd) *actor {
	h.t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		h.t.Fatalf("start %v: %v", cmd.Env, err)
	}
	a := &actor{pid: cmd.Process.Pid, cmd: cmd}
	_, err = fmt.Fscan(out, &a.errno, &a.target, &a.address, &a.ns, &a.tag)
	a.start = startOf(a.pid)
	in.Close()
	if werr := cmd.Wait(); err != nil || werr != nil {
		h.t.Fatalf("role %v: %v, %v: %s", cmd.Env, err, werr, stderr.Bytes())
	}
	return a
}

// startOf reads a process's start time, nanoseconds since boot, from /proc.
func startOf(pid int) uint64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	ticks, _ := strconv.ParseUint(f[19], 10, 64)
	return ticks * 10_000_000
}

// ownCreds are the credentials of this process, which its children begin with.
func ownCreds(t *testing.T) event.Creds {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	var c event.Creds
	sets := map[string]*event.CapSet{"CapInh:": &c.Inheritable, "CapPrm:": &c.Permitted, "CapEff:": &c.Effective,
		"CapBnd:": &c.Bounding, "CapAmb:": &c.Ambient}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		switch {
		case len(f) == 5 && f[0] == "Uid:":
			ids(f[1:], &c.UID, &c.EUID, &c.SUID)
		case len(f) == 5 && f[0] == "Gid:":
			ids(f[1:], &c.GID, &c.EGID, &c.SGID)
		case len(f) == 2 && sets[f[0]] != nil:
			if err := sets[f[0]].UnmarshalText([]byte(f[1])); err != nil {
				t.Fatal(err)
			}
		}
	}
	return c
}

func ids(f []string, to ...*uint32) {
	for i, p := range to {
		n, _ := strconv.ParseUint(f[i], 10, 32)
		*p = uint32(n)
	}
}

// by returns the event of that kind which the actor's call made.
func (h *harness) by(a *actor, kind event.Kind, call string) *event.Event {
	h.t.Helper()
	return h.wait(fmt.Sprintf("%s by %s of %d", kind, call, a.pid), func(ev *event.Event) bool {
		return ev.Kind == kind && ev.Thread.PID == uint32(a.pid) && ev.Privilege.Call == call
	})
}

// check compares the whole event with what is wanted of its part; actor and
// target are compared with what the child is and told.
func (h *harness) check(a *actor, ev *event.Event, uid uint32, want *event.Privilege) {
	h.t.Helper()
	if want.Target != nil && want.Target.Start == 0 && ev.Privilege.Target != nil && want.Target.Comm != "" {
		want.Target.Start = ev.Privilege.Target.Start
		if want.Target.Start <= a.start || want.Target.Start > ev.Boot {
			h.t.Errorf("the target started at %d: after the actor at %d and before the act at %d it was", want.Target.Start, a.start, ev.Boot)
		}
	}
	wantEv := &event.Event{Kind: ev.Kind, Privilege: want, Boot: ev.Boot, Time: ev.Time, CPU: ev.CPU,
		Thread: event.Thread{PID: uint32(a.pid), TID: ev.Thread.TID, Start: a.start, UID: uid, EUID: uid, CgroupID: ev.Thread.CgroupID, Comm: "exe"}}
	got := *ev
	got.Thread.Start = got.Thread.Start / 10_000_000 * 10_000_000
	if d := cmp.Diff(wantEv, &got, cmpopts.IgnoreUnexported(event.Process{})); d != "" {
		h.t.Errorf("%s (-want +got):\n%s", ev.Kind, d)
	}
	if ev.Boot < ev.Thread.Start || ev.Time.IsZero() || ev.Thread.TID == 0 {
		h.t.Errorf("boot %d start %d time %v tid %d", ev.Boot, ev.Thread.Start, ev.Time, ev.Thread.TID)
	}
}

// once fails when the act was told more than once.
func (h *harness) once(a *actor, kind event.Kind, call string) {
	h.t.Helper()
	n := h.count(func(ev *event.Event) bool {
		return ev.Kind == kind && ev.Thread.PID == uint32(a.pid) && ev.Privilege.Call == call
	})
	if n != 1 {
		h.t.Errorf("%s by %s was told %d times", kind, call, n)
	}
}

// capable is what the check of a capability tells.
func capableEvent(before event.Creds, call, capability string) *event.Privilege {
	return &event.Privilege{Before: &before, Cause: "capability", Cap: capability, Call: call, NoResult: true, Via: "capable"}
}
