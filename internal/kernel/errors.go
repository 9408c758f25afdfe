package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// Error tells why the kernel refused something, and what can be done about it.
type Error struct {
	Op    string `json:"op"`             // what was tried: "load process"
	Cause string `json:"cause"`          // why it failed, in words
	Cure  string `json:"cure,omitempty"` // what the administrator can do; empty when nothing helps
	Err   error  `json:"-"`              // what the kernel or the library said
}

// Error returns operation, cause and cure. It leaves the library's own text
// out: its hint at RLIMIT_MEMLOCK on EPERM misleads more often than it helps.
func (e *Error) Error() string {
	if e.Cure == "" {
		return e.Op + ": " + e.Cause
	}
	return e.Op + ": " + e.Cause + "; " + e.Cure
}

// Unwrap returns what the kernel or the library said.
func (e *Error) Unwrap() error { return e.Err }

const (
	cureRoot   = "run as root, or see it work in a virtual machine with `make demo`"
	cureKernel = "a newer kernel has it"
	cureHost   = "only whoever runs this host can allow it, with another kernel or boot line"
)

// enotsupp is the kernel's internal ENOTSUPP, which leaks out of bpf(2)
// (include/linux/errno.h).
const enotsupp = unix.Errno(524)

// Explain translates err into its cause and its cure on a machine like env.
// It returns nil for nil, and err itself where it has been explained before.
func Explain(op string, err error, env Environment) *Error {
	if err == nil {
		return nil
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		return e
	}
	e := &Error{Op: op, Err: err}
	for _, explain := range []func(error, Environment) (string, string){
		explainVerifier, explainPermission, explainJIT, explainNoBTF, explainUnsupported, explainMissing, explainMemory, explainHeld,
	} {
		if e.Cause, e.Cure = explain(err, env); e.Cause != "" {
			return e
		}
	}
	e.Cause = plain(err)
	return e
}

func (k *Kernel) explain(op string, err error) error {
	if err == nil {
		return nil
	}
	return Explain(op, err, k.env)
}

// plain is err's text without the library's misleading hint.
func plain(err error) string {
	return strings.ReplaceAll(err.Error(), " (MEMLOCK may be too low, consider rlimit.RemoveMemlock)", "")
}

var (
	unknownFunc  = regexp.MustCompile(`(?:unknown func|program of this type cannot use helper) (bpf_\w+)`)
	unknownKfunc = regexp.MustCompile(`kfunc "(\w+)"`)
	tooOld       = regexp.MustCompile(`([\w ]+) not supported \(requires >= v([0-9.]+)\)`)
	tooLarge     = regexp.MustCompile(`BPF program is too large`)
)

// explainVerifier reads the verifier's log.
func explainVerifier(err error, env Environment) (cause, cure string) {
	v := (*ebpf.VerifierError)(nil)
	if !errors.As(err, &v) || len(v.Log) == 0 {
		return "", ""
	}
	log := strings.Join(v.Log, "\n")
	switch m := unknownFunc.FindStringSubmatch(log); {
	case m != nil && env.Lockdown == "confidentiality":
		return "lockdown=confidentiality forbids " + m[1], "boot with lockdown=integrity or less"
	case m != nil && env.Lockdown == "integrity" && m[1] == "bpf_probe_write_user":
		return "lockdown=integrity forbids " + m[1], "boot with lockdown=none"
	case m != nil:
		return "this kernel doesn't offer " + m[1] + " to this kind of program", cureKernel
	case strings.Contains(log, "JIT is required"):
		return "the BPF JIT is off", "sysctl net.core.bpf_jit_enable=1"
	case errors.Is(err, unix.E2BIG) || tooLarge.MatchString(log):
		return "the program is larger than this kernel's verifier accepts", cureKernel
	}
	return "the verifier rejected the program: " + strings.Join(tail(v.Log, 3), " | "), "report it with this kernel's release, " + env.Release
}

// tail returns the last n lines that say something.
func tail(log []string, n int) []string {
	var last []string
	for i := len(log) - 1; i >= 0 && len(last) < n; i-- {
		line := strings.TrimSpace(log[i])
		if line == "" || strings.HasPrefix(line, "processed ") || strings.HasPrefix(line, "verification time") ||
			strings.HasPrefix(line, "stack depth") {
			continue
		}
		last = append([]string{line}, last...)
	}
	return last
}

// explainPermission finds out who said EPERM: capabilities, a user namespace,
// seccomp, lockdown, the locked-memory limit or a policy of the kernel.
func explainPermission(err error, env Environment) (cause, cure string) {
	if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, unix.EPERM) {
		return "", ""
	}
	// CAP_SYS_RESOURCE raises RLIMIT_MEMLOCK and nothing else that we do.
	missing := slices.DeleteFunc(slices.Clone(env.MissingCaps), func(c string) bool { return c == "CAP_SYS_RESOURCE" })
	switch {
	case len(missing) > 0:
		return "missing " + strings.Join(missing, ", "), cureRoot
	case env.UserNS:
		return "root in a user namespace has no capabilities over the kernel", "run in the host's user namespace; " + cureRoot
	case env.Seccomp == "filter":
		cause = "a seccomp filter is on this process, and it may forbid bpf(2), perf_event_open(2) or mount(2)"
		return cause, "run outside the container, or with a seccomp profile that allows them (docker: --security-opt seccomp=unconfined)"
	case env.Lockdown == "confidentiality":
		return "lockdown=confidentiality forbids tracing programs to read the kernel", "boot with lockdown=integrity or less"
	case env.MemlockLimited:
		return "RLIMIT_MEMLOCK is too low on a kernel that charges BPF to it (before 5.11), and can't be raised", "ulimit -l unlimited, or CAP_SYS_RESOURCE"
	case env.Lockdown != "" && env.Lockdown != "none":
		return fmt.Sprintf("the kernel refuses it (EPERM) although the capabilities for it are there; it is locked down (%s)", env.Lockdown), cureHost
	}
	return "the kernel refuses it (EPERM) although the capabilities for it are there", cureHost
}

// explainNoBTF tells of a kernel that does not describe its own types.
func explainNoBTF(err error, env Environment) (cause, cure string) {
	if env.BTF != "" || !errors.Is(err, btf.ErrNotFound) && !errors.Is(err, ebpf.ErrNotSupported) && !errors.Is(err, fs.ErrNotExist) {
		return "", ""
	}
	return "this kernel carries no type information (BTF)",
		"boot a kernel built with CONFIG_DEBUG_INFO_BTF, or name a BTF file made for " + env.Release + " in the configuration"
}

func explainJIT(err error, env Environment) (cause, cure string) {
	if env.JIT != "off" || !unsupported(err) {
		return "", ""
	}
	return "the BPF JIT is off", "sysctl net.core.bpf_jit_enable=1"
}

// explainMissing tells of BTF, functions, tracepoints and symbols that are not
// there.
func explainMissing(err error, env Environment) (cause, cure string) {
	switch {
	case strings.Contains(err.Error(), "bad CO-RE relocation"):
		return "a kernel structure or field that the program reads is not in this kernel's type information", "use BTF made for exactly " + env.Release
	case errors.Is(err, btf.ErrNotFound):
		return "this kernel has no such function, tracepoint or type: " + plain(err), cureKernel
	case errors.Is(err, fs.ErrNotExist) && env.Tracefs == "":
		return "tracefs is not mounted", "mount -t tracefs tracefs /sys/kernel/tracing"
	case errors.Is(err, fs.ErrNotExist):
		return "this kernel has no such tracepoint, symbol or object: " + plain(err), ""
	}
	return "", ""
}

func explainMemory(err error, env Environment) (cause, cure string) {
	if !errors.Is(err, unix.ENOMEM) {
		return "", ""
	}
	if env.MemlockLimited {
		return "RLIMIT_MEMLOCK is too low", "ulimit -l unlimited, or CAP_SYS_RESOURCE"
	}
	return "the kernel has no memory for it", "raise the memory limit of this cgroup, or make rings and maps smaller in the configuration"
}

func explainHeld(err error, _ Environment) (cause, cure string) {
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
		return "somebody else's program holds this hook", "see who with `bpftool net` or `bpftool link`; Merlon never removes what is not its own"
	}
	return "", ""
}

func explainUnsupported(err error, env Environment) (cause, cure string) {
	text := plain(err)
	switch {
	case strings.Contains(text, "kprobe_events"): // perf_event_open(2) knows no kprobes, nor does tracefs
		return "this kernel was built without kprobes", cureHost
	case errors.Is(err, ebpf.ErrNotSupported) && unknownKfunc.MatchString(text):
		return "this kernel has no kfunc " + unknownKfunc.FindStringSubmatch(text)[1], cureKernel
	case errors.Is(err, ebpf.ErrNotSupported) && tooOld.MatchString(text):
		m := tooOld.FindStringSubmatch(text)
		return "this kernel has no " + m[1], "Linux " + m[2] + " has it"
	case errors.Is(err, ebpf.ErrNotSupported) && strings.Contains(text, "create raw tracepoint"):
		// arch_prepare_bpf_trampoline is missing (arm64 before 6.4) or the function can't be patched.
		return "this kernel has no BPF trampolines for " + env.Arch + ", on which fentry, fmod_ret and LSM programs rest", cureKernel
	}
	if !unsupported(err) {
		return "", ""
	}
	if v := (*ebpf.VerifierError)(nil); errors.As(err, &v) && errors.Is(err, unix.EINVAL) { // refused before verification
		return "this kernel doesn't know this type of program, or its hook", cureKernel
	}
	return "this kernel doesn't support it: " + text, cureKernel
}

func unsupported(err error) bool {
	for _, e := range []error{ebpf.ErrNotSupported, enotsupp, unix.EOPNOTSUPP, unix.ENOSYS, unix.ENODEV, unix.EINVAL, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
