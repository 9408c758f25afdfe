package kernel

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/merlon/merlon/internal/event"
)

// expected gives the tiers that this kernel is known to have; empty for none.
// Kernels that nobody measured have no expectations.
func expected(env Environment) map[string]string {
	want := map[string]string{
		"trace kernel events": "tp_btf", "list kernel objects": "iterator", "kill at exec": "bpf_send_signal",
		"prevent connect": "cgroup", "drop packets on arrival": "xdp native",
	}
	security := "fmod_ret"
	if slices.Contains(env.LSMs, "bpf") {
		security = "lsm"
	}
	deny := func(exec, open, unlink, functions string) {
		want["prevent exec"], want["prevent open"], want["prevent unlink"], want["trace kernel functions"] = exec, open, unlink, functions
	}
	old := func() {
		want["end connections"], want["filter packets of an interface"], want["filter packets in the stack"] = "inet_diag", "tc", ""
	}
	recent := func() {
		want["end connections"], want["filter packets of an interface"], want["filter packets in the stack"] = "sock_destroy", "tcx", "netfilter"
	}
	debian := strings.Contains(env.Release, "-cloud-")
	switch {
	case env.Lockdown == "integrity" && strings.HasPrefix(env.Release, "6.18.") && !debian:
		// Trampolines are refused by policy, kprobes are not built.
		deny("fanotify", "fanotify", "", "")
		recent()
	case debian && strings.HasPrefix(env.Release, "6.12."):
		deny(security, security, security, "fentry")
		recent()
	case debian && strings.HasPrefix(env.Release, "6.1.") && env.Arch == "arm64":
		deny("fanotify", "fanotify", "", "kprobe") // arm64 has no trampolines before 6.4
		old()
	case debian && (strings.HasPrefix(env.Release, "6.1.") || strings.HasPrefix(env.Release, "5.10.")):
		deny(security, security, security, "fentry")
		old()
	default:
		return nil
	}
	return want
}

func TestMechanisms(t *testing.T) {
	k := open(t)
	features := k.Mechanisms(context.Background())
	want := expected(k.Environment())
	if len(features) != 12 {
		t.Errorf("%d features", len(features))
	}
	for _, f := range features {
		t.Run(f.Name, func(t *testing.T) {
			t.Logf("%s: tier %q, guarantee %s, why %q, tried %+v", f.Group, f.Tier, f.Guarantee, f.Why, f.Tried)
			checkFeature(t, f)
			tier, known := want[f.Name]
			switch {
			case !known:
				t.Skipf("nobody has measured %s: nothing to compare with", k.Environment().Release)
			case f.Tier != tier && needsModule(f):
				t.Skipf("needs a kernel module: %s", f.Why)
			case f.Tier != tier:
				t.Errorf("tier %q, this kernel is known for %q", f.Tier, tier)
			}
		})
	}
	assertNoTraces(t, k)
}

// checkFeature wants the row to hang together, and every failure explained.
func checkFeature(t *testing.T, f event.Feature) {
	t.Helper()
	if f.Group == "" || len(f.Tried) == 0 {
		t.Errorf("incomplete: %+v", f)
	}
	for i, a := range f.Tried {
		if a.OK != (i == len(f.Tried)-1 && f.Tier != "") || a.OK == (a.Cause != "") || a.OK == (a.Stage != "") {
			t.Errorf("attempt %d: %+v", i, a)
		}
		if strings.Contains(a.Cause, "MEMLOCK may") {
			t.Errorf("misleading cause: %s", a.Cause)
		}
	}
	if (f.Tier == "") != (f.Guarantee == event.Absent) || (f.Why == "") != f.Tried[0].OK {
		t.Errorf("tier %q with guarantee %s and reason %q", f.Tier, f.Guarantee, f.Why)
	}
}

func needsModule(f event.Feature) bool {
	return slices.ContainsFunc(f.Tried, func(a event.Attempt) bool { return strings.HasPrefix(a.Cure, "modprobe ") })
}

// assertNoTraces wants nothing left of the canaries.
func assertNoTraces(t *testing.T, k *Kernel) {
	t.Helper()
	if len(k.Links())+len(k.Programs()) != 0 {
		t.Errorf("still loaded: %v %v", k.Links(), k.Programs())
	}
	for _, dir := range []string{os.TempDir(), "/run", "/dev/shm", "/var/tmp", k.Environment().CgroupPath} {
		ours := canaryName + strings.TrimSpace(readFile("/proc/self/stat")[:strings.IndexByte(readFile("/proc/self/stat"), ' ')]) + "-*"
		if left, _ := filepath.Glob(filepath.Join(dir, ours)); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	tasks, _ := filepath.Glob("/proc/self/task/*/ns/net")
	for _, task := range tasks {
		if ns, err := os.Readlink(task); err == nil && ns != own {
			t.Errorf("a thread stays in %s", ns)
		}
	}
}

// TestMechanismsCancelled wants a reason, not a hang or a panic, when
// no canary can run.
func TestMechanismsCancelled(t *testing.T) {
	k := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, f := range k.Mechanisms(ctx) {
		if f.Guarantee != event.Absent || f.Why == "" {
			t.Errorf("%+v", f)
		}
	}
	assertNoTraces(t, k)
}
