package privilege

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

// Canaries act on a thread of ours that ends with them, on a child that never
// runs, or ask for what the kernel refuses after the hook.

// onThread runs act on a thread of its own, which ends with it. The process's
// first thread never ends, so it is never that one.
func onThread(act func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			err := onThread(act) // on another: this one is taken
			runtime.UnlockOSThread()
			done <- err
			return
		}
		done <- act() // not unlocked: the thread ends with the goroutine
	}()
	return <-done
}

// await waits for an event of that kind by this process.
func await(ctx context.Context, p *kernel.Probe, kind event.Kind) error {
	return awaitSuch(ctx, p, kind, func(*event.Event) bool { return true })
}

func awaitSuch(ctx context.Context, p *kernel.Probe, kind event.Kind, match func(*event.Event) bool) error {
	self, d := uint32(os.Getpid()), NewDecoder()
	for n, k := range wire {
		if k != kind {
			continue
		}
		return p.Await(ctx, n, func(rec []byte) bool {
			var ev event.Event
			return d.Decode(rec, &ev) == nil && ev.Thread.PID == self && match(&ev)
		})
	}
	return fmt.Errorf("await %s: no such kind", kind)
}

// thread makes a canary of what is done on a thread; what the call says does
// not matter, the hook tells.
func thread(kind event.Kind, act func() error) func(context.Context, *kernel.Probe) error {
	return func(ctx context.Context, p *kernel.Probe) error {
		if err := onThread(act); err != nil {
			return err
		}
		return await(ctx, p, kind)
	}
}

// raw makes a system call of the calling thread alone.
func raw(nr uintptr, args ...uintptr) (uintptr, error) {
	var a [6]uintptr
	copy(a[:], args)
	r, _, errno := unix.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno != 0 {
		return 0, errno
	}
	return r, nil
}

// nobody is a user id that is not ours.
const nobody = 65534

func canaryCreds(ctx context.Context, p *kernel.Probe) error {
	err := onThread(func() error { // saved id changes, then the thread ends
		_, err := raw(unix.SYS_SETRESUID, ^uintptr(0), ^uintptr(0), nobody)
		return err
	})
	if err != nil {
		return fmt.Errorf("change a thread's saved user id: %w", err)
	}
	return await(ctx, p, event.KindSetuid)
}

func canaryUserns(ctx context.Context, p *kernel.Probe) error {
	// The child is born into a new user namespace and finds nothing to execute.
	_, err := syscall.ForkExec("/proc/self/nothing", []string{"nothing"},
		&syscall.ProcAttr{Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}})
	if err == nil {
		return errors.New("make a user namespace: a file that does not exist was executed")
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
		return nil // this kernel lets nobody make one
	}
	return await(ctx, p, event.KindUsernsCreate)
}

func canarySetns(ctx context.Context, p *kernel.Probe) error {
	return thread(event.KindSetns, func() error {
		f, err := os.Open("/proc/thread-self/ns/uts")
		if err != nil {
			return fmt.Errorf("open own namespace: %w", err)
		}
		defer f.Close()
		return unix.Setns(int(f.Fd()), unix.CLONE_NEWUTS)
	})(ctx, p)
}

func canaryUnshare(ctx context.Context, p *kernel.Probe) error {
	return thread(event.KindUnshare, func() error { return unix.Unshare(unix.CLONE_NEWUTS) })(ctx, p)
}

func canaryChroot(ctx context.Context, p *kernel.Probe) error {
	return thread(event.KindChroot, func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		return unix.Chroot("/")
	})(ctx, p)
}

func canaryPivot(ctx context.Context, p *kernel.Probe) error {
	return thread(event.KindPivotRoot, func() error {
		_ = unix.PivotRoot("/", "/") // EBUSY, after the hook
		return nil
	})(ctx, p)
}

// onChild runs act on a child that is stopped before its first instruction, as
// another user, and ends it.
func onChild(act func(pid int) error) error {
	return onThread(func() error {
		pid, err := syscall.ForkExec("/proc/self/exe", []string{"canary"}, &syscall.ProcAttr{
			Sys: &syscall.SysProcAttr{Ptrace: true, Credential: &syscall.Credential{Uid: nobody, Gid: nobody, NoSetGroups: true}}})
		if err != nil {
			return fmt.Errorf("start a child: %w", err)
		}
		var ws unix.WaitStatus
		_, werr := unix.Wait4(pid, &ws, unix.WALL, nil)
		err = act(pid)
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, &ws, unix.WALL, nil)
		return errors.Join(werr, err)
	})
}

func child(kind event.Kind, act func(pid int)) func(context.Context, *kernel.Probe) error {
	return func(ctx context.Context, p *kernel.Probe) error {
		if err := onChild(func(pid int) error { act(pid); return nil }); err != nil {
			return err
		}
		return await(ctx, p, kind)
	}
}

func canaryPtrace(ctx context.Context, p *kernel.Probe) error {
	return child(event.KindPtrace, func(pid int) { _ = unix.PtraceAttach(pid) })(ctx, p) // EPERM: it is traced
}

func canaryVMWrite(ctx context.Context, p *kernel.Probe) error {
	return child(event.KindVMWrite, func(pid int) { _ = vmWrite(pid, 0, []byte{0}) })(ctx, p)
}

// vmWrite writes into another process's memory.
func vmWrite(pid int, at uintptr, b []byte) error {
	local := unix.Iovec{Base: &b[0]}
	local.SetLen(len(b))
	_, err := unix.ProcessVMWritev(pid, []unix.Iovec{local}, []unix.RemoteIovec{{Base: at, Len: len(b)}}, 0)
	return err
}

func canaryMemWrite(ctx context.Context, p *kernel.Probe) error {
	return child(event.KindMemWrite, func(pid int) {
		if f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_WRONLY, 0); err == nil {
			f.Close()
		}
	})(ctx, p)
}

func canarySignal(ctx context.Context, p *kernel.Probe) error {
	return child(event.KindSignal, func(int) {})(ctx, p)
}

func canaryMemfd(ctx context.Context, p *kernel.Probe) error {
	return thread(event.KindMemfdCreate, func() error {
		fd, err := unix.MemfdCreate("merlon-canary", unix.MFD_CLOEXEC)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	})(ctx, p)
}

func canaryWX(ctx context.Context, p *kernel.Probe) error {
	return thread(event.KindWXMap, func() error {
		b, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return nil // refused; the hook tells that too
		}
		return unix.Munmap(b)
	})(ctx, p)
}

func canaryBPF(ctx context.Context, p *kernel.Probe) error {
	loadRefused()
	return awaitSuch(ctx, p, event.KindBPFLoad, func(ev *event.Event) bool {
		return ev.Privilege.Result < 0 || ev.Privilege.Via != "" // a wrong word would hardly be an error
	})
}

// loadRefused offers the kernel a BPF program that its verifier refuses, since
// it returns nothing.
func loadRefused() {
	exit := [8]byte{0x95}
	license := []byte("GPL\x00")
	attr := struct {
		typ, count     uint32
		insns, license uint64
		rest           [12]uint64
	}{typ: 1, count: 1, insns: uint64(uintptr(unsafe.Pointer(&exit))), license: uint64(uintptr(unsafe.Pointer(&license[0])))}
	_, _, _ = unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(&exit)
	runtime.KeepAlive(license)
}

func canaryKexec(ctx context.Context, p *kernel.Probe) error {
	return thread(event.KindKexec, func() error {
		_, _ = raw(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0xbad) // flags that no kernel takes
		return nil
	})(ctx, p)
}

func canaryPerf(ctx context.Context, p *kernel.Probe) error {
	return thread(event.KindPerfOpen, func() error {
		attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_DUMMY, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{}))}
		fd, err := unix.PerfEventOpen(&attr, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if err != nil {
			return nil // refused; the hook tells that too
		}
		return unix.Close(fd)
	})(ctx, p)
}

func canaryUring(ctx context.Context, p *kernel.Probe) error {
	var params [120]byte // struct io_uring_params
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		return nil // this kernel makes none
	}
	_ = unix.Close(int(fd))
	return await(ctx, p, event.KindUringSetup)
}

func canaryKeyring(ctx context.Context, p *kernel.Probe) error {
	return thread(event.KindKeyringJoin, func() error {
		name := []byte("merlon-canary\x00")
		_, err := raw(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, uintptr(unsafe.Pointer(&name[0])))
		runtime.KeepAlive(name)
		return err
	})(ctx, p)
}
