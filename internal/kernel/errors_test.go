package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// errMemlock is how the library words every EPERM at load.
var errMemlock = fmt.Errorf("program x: load program: %w (MEMLOCK may be too low, consider rlimit.RemoveMemlock)", unix.EPERM)

func verifier(err error, log ...string) error {
	return fmt.Errorf("program x: %w", &ebpf.VerifierError{Cause: err, Log: log})
}

func TestExplain(t *testing.T) {
	plainEnv := Environment{Release: "6.12.0", Arch: "arm64", BTF: "/sys/kernel/btf/vmlinux", Lockdown: "none", JIT: "on", Tracefs: "/sys/kernel/tracing"}
	env := func(change func(*Environment)) Environment {
		e := plainEnv
		change(&e)
		return e
	}
	for name, c := range map[string]struct {
		err         error
		env         Environment
		cause, cure string // parts of them
	}{
		"capability":  {errMemlock, env(func(e *Environment) { e.MissingCaps = []string{"CAP_BPF", "CAP_PERFMON"} }), "CAP_BPF, CAP_PERFMON", "make demo"},
		"user ns":     {errMemlock, env(func(e *Environment) { e.UserNS = true }), "user namespace", "host's user namespace"},
		"seccomp":     {errMemlock, env(func(e *Environment) { e.Seccomp = "filter" }), "seccomp", "seccomp profile"},
		"lockdown":    {errMemlock, env(func(e *Environment) { e.Lockdown = "confidentiality" }), "lockdown=confidentiality", "lockdown=integrity"},
		"integrity":   {errMemlock, env(func(e *Environment) { e.Lockdown = "integrity" }), "locked down (integrity)", "another kernel"},
		"resource":    {errMemlock, env(func(e *Environment) { e.MissingCaps = []string{"CAP_SYS_RESOURCE"} }), "capabilities for it are there", ""},
		"memlock":     {errMemlock, env(func(e *Environment) { e.MemlockLimited = true }), "RLIMIT_MEMLOCK", "ulimit -l"},
		"memory":      {unix.ENOMEM, plainEnv, "no memory", "memory limit"},
		"memlock 2":   {unix.ENOMEM, env(func(e *Environment) { e.MemlockLimited = true }), "RLIMIT_MEMLOCK", "CAP_SYS_RESOURCE"},
		"no BTF":      {fmt.Errorf("no BTF found: %w", ebpf.ErrNotSupported), env(func(e *Environment) { e.BTF = "" }), "BTF", "CONFIG_DEBUG_INFO_BTF"},
		"no function": {fmt.Errorf("targeted function: %w", btf.ErrNotFound), plainEnv, "no such function", "newer kernel"},
		"relocation":  {errors.New("load program: bad CO-RE relocation: invalid func unknown#195896080"), plainEnv, "structure or field", "6.12.0"},
		"JIT":         {fmt.Errorf("create: %w", enotsupp), env(func(e *Environment) { e.JIT = "off" }), "JIT is off", "bpf_jit_enable=1"},
		"JIT kfunc":   {verifier(unix.EINVAL, "JIT is required for calling kernel function"), plainEnv, "JIT is off", "bpf_jit_enable=1"},
		"trampolines": {fmt.Errorf("create raw tracepoint: %w", ebpf.ErrNotSupported), plainEnv, "no BPF trampolines for arm64", "newer kernel"},
		"kfunc":       {fmt.Errorf(`fixing up kfuncs: kfunc "bpf_x": %w`, ebpf.ErrNotSupported), plainEnv, "no kfunc bpf_x", "newer kernel"},
		"too old":     {fmt.Errorf("tcx not supported (requires >= v6.6): %w", ebpf.ErrNotSupported), plainEnv, "no tcx", "Linux 6.6"},
		"type":        {verifier(unix.EINVAL), plainEnv, "type of program", "newer kernel"},
		"helper":      {verifier(unix.EINVAL, "unknown func bpf_loop#181"), plainEnv, "bpf_loop", "newer kernel"},
		"write user": {verifier(unix.EINVAL, "unknown func bpf_probe_write_user#36"), env(func(e *Environment) { e.Lockdown = "integrity" }),
			"lockdown=integrity forbids bpf_probe_write_user", "lockdown=none"},
		"large":      {verifier(unix.E2BIG, "BPF program is too large. Processed 1000001 insn"), plainEnv, "larger than this kernel's verifier", "newer kernel"},
		"verifier":   {verifier(unix.EACCES, "0: R1=ctx", "R0 invalid mem access 'scalar'", "processed 9 insns (limit 1000000)"), plainEnv, "R0 invalid mem access 'scalar'", "6.12.0"},
		"kprobe":     {fmt.Errorf("open /sys/kernel/tracing/kprobe_events: %w", fs.ErrNotExist), plainEnv, "without kprobes", "another kernel"},
		"no tracefs": {fs.ErrNotExist, env(func(e *Environment) { e.Tracefs = "" }), "tracefs", "mount -t tracefs"},
		"no symbol":  {fmt.Errorf("symbol x: %w", fs.ErrNotExist), plainEnv, "no such tracepoint, symbol", ""},
		"held":       {fmt.Errorf("attach: %w", unix.EBUSY), plainEnv, "somebody else's", "bpftool"},
		"other":      {errors.New("odd"), plainEnv, "odd", ""},
	} {
		e := Explain("load x", c.err, c.env)
		if !strings.Contains(e.Cause, c.cause) || !strings.Contains(e.Cure, c.cure) {
			t.Errorf("%s: cause %q, cure %q; want %q, %q", name, e.Cause, e.Cure, c.cause, c.cure)
		}
		if strings.Contains(e.Error(), "rlimit.RemoveMemlock") || strings.Contains(e.Error(), "consider") {
			t.Errorf("%s: shows the library's misleading hint: %v", name, e)
		}
		if !errors.Is(e, c.err) || !strings.HasPrefix(e.Error(), "load x: ") {
			t.Errorf("%s: %v does not wrap its reason", name, e)
		}
	}
	if Explain("x", nil, plainEnv) != nil {
		t.Error("explained no error")
	}
	once := Explain("a", os.ErrPermission, plainEnv)
	if twice := Explain("b", fmt.Errorf("b: %w", once), plainEnv); twice != once {
		t.Errorf("explained twice: %v", twice)
	}
}

func FuzzTail(f *testing.F) {
	f.Add("0: (95) exit\nR0 !read_ok\nprocessed 1 insns", 3)
	f.Fuzz(func(t *testing.T, log string, n int) {
		got := tail(strings.Split(log, "\n"), n)
		if len(got) > max(n, 0) {
			t.Errorf("%d lines of %d wanted", len(got), n)
		}
	})
}
