package privilege

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// told is what a role tells the test: how its act ended, and on whom or where.
type told struct {
	errno   int
	target  int
	address uint64
	ns      uint32
	tag     string // of a BPF program, by the kernel
}

// playRole performs an act as a child of a test, tells its outcome, and stays
// until the test closes its input.
func playRole(role string) int {
	if role == "sleep" {
		_, _ = io.Copy(io.Discard, os.Stdin)
		return 0
	}
	act := roles[role]
	if act == nil {
		fmt.Fprintln(os.Stderr, "no such role:", role)
		return 2
	}
	runtime.LockOSThread()
	t := told{tag: "-"}
	err := act(&t)
	if errno, ok := err.(syscall.Errno); ok {
		t.errno = int(errno)
	} else if err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		return 1
	}
	fmt.Println(t.errno, t.target, t.address, t.ns, t.tag)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// raceRounds is how many names the role rename makes.
const raceRounds = 200

// keep is what a credential call leaves unchanged.
const keep = ^uintptr(0)

var roles = map[string]func(*told) error{
	"setresuid": func(*told) error { _, err := raw(unix.SYS_SETRESUID, 1234, 1234, 1234); return err },
	"setfsuid":  func(*told) error { _, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, 1234, 0, 0); return nil },
	"setresgid": func(*told) error { _, err := raw(unix.SYS_SETRESGID, keep, 4321, keep); return err },
	"refused": func(*told) error { // gives its privileges up, then wants them back
		if _, err := raw(unix.SYS_SETRESUID, 1234, 1234, 1234); err != nil {
			return err
		}
		_, err := raw(unix.SYS_SETUID, 0)
		return err
	},
	"back": func(*told) error { // a daemon that puts its privileges away for a while
		if _, err := raw(unix.SYS_SETRESUID, keep, 1234, keep); err != nil {
			return err
		}
		_, err := raw(unix.SYS_SETRESUID, keep, 0, keep)
		return err
	},
	"become": func(*told) error { _, err := raw(unix.SYS_SETUID, 0); return err },
	"capset": func(*told) error {
		h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var d [2]unix.CapUserData
		if err := unix.Capget(&h, &d[0]); err != nil {
			return err
		}
		d[0].Effective &^= 1 << unix.CAP_SYS_TIME
		return unix.Capset(&h, &d[0])
	},
	"unshare": func(*told) error { return unix.Unshare(unix.CLONE_NEWUTS | unix.CLONE_NEWIPC) },
	"setns": func(t *told) error {
		f, err := os.Open("/proc/thread-self/ns/uts")
		if err != nil {
			return fmt.Errorf("open: %w", err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			return err
		}
		t.ns = uint32(st.Ino)
		if err := unix.Unshare(unix.CLONE_NEWUTS); err != nil {
			return err
		}
		return unix.Setns(int(f.Fd()), 0)
	},
	"chroot": func(*told) error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		return unix.Chroot(os.Args[1])
	},
	"pivot": func(*told) error {
		root := os.Args[1]
		old := filepath.Join(root, "old")
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		if err := unix.Mount("tmpfs", root, "tmpfs", 0, ""); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		if err := os.Mkdir(old, 0o700); err != nil {
			return fmt.Errorf("mkdir: %w", err)
		}
		return unix.PivotRoot(root, old)
	},
	"attach": func(t *told) error { return withVictim(t, unix.PtraceAttach) },
	"seize": func(t *told) error {
		return withVictim(t, func(pid int) error { return unix.PtraceSeize(pid) })
	},
	"poke": func(t *told) error {
		return withVictim(t, func(pid int) error {
			if err := unix.PtraceAttach(pid); err != nil {
				return err
			}
			var ws unix.WaitStatus
			if _, err := unix.Wait4(pid, &ws, unix.WALL, nil); err != nil {
				return err
			}
			t.address = writable(pid)
			_, err := raw(unix.SYS_PTRACE, unix.PTRACE_POKEDATA, uintptr(pid), uintptr(t.address), 0)
			return err
		})
	},
	"vmwrite": func(t *told) error {
		return withVictim(t, func(pid int) error { return vmWrite(pid, uintptr(writable(pid)), []byte{0}) })
	},
	"memopen": func(t *told) error {
		return withVictim(t, func(pid int) error {
			f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
			if err != nil {
				return err
			}
			return f.Close()
		})
	},
	"signal": func(t *told) error {
		return withVictim(t, func(pid int) error { return unix.Kill(pid, unix.SIGCONT) })
	},
	"memfd": func(*told) error { _, err := unix.MemfdCreate("pv \x1b[31m\xff", unix.MFD_CLOEXEC); return err },
	"mmap": func(t *told) error {
		b, err := unix.Mmap(-1, 0, 8192, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err == nil {
			t.address = uint64(uintptr(unsafe.Pointer(&b[0])))
		}
		return err
	},
	"mprotect": func(t *told) error { // written before, then executable
		b, err := unix.Mmap(-1, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		b[0] = 0xc3
		t.address = uint64(uintptr(unsafe.Pointer(&b[0])))
		return unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC)
	},
	"mprotectwx": func(t *told) error {
		b, err := unix.Mmap(-1, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		t.address = uint64(uintptr(unsafe.Pointer(&b[0])))
		return unix.Mprotect(b, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC)
	},
	"bpf": loadHelper,
	"kexec": func(*told) error {
		_, err := raw(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0xbad)
		return err
	},
	"perf": func(*told) error {
		attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_DUMMY, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{}))}
		_, err := unix.PerfEventOpen(&attr, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		return err
	},
	"uring": func(*told) error {
		var params [120]byte
		_, err := raw(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&params)))
		return err
	},
	"keyring": func(*told) error {
		name := []byte("pv test\x00")
		_, err := raw(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, uintptr(unsafe.Pointer(&name[0])))
		return err
	},
	"rename": func(*told) error { // one thread makes memfds, another rewrites the name
		name := []byte("aaaaaaaaaaaaaaaa\x00")
		stop := make(chan struct{})
		go func() {
			for c := byte('a'); ; c ^= 'a' ^ 'b' {
				select {
				case <-stop:
					return
				default:
				}
				for i := range 16 {
					name[i] = c
				}
			}
		}()
		defer close(stop)
		for range raceRounds {
			fd, err := raw(unix.SYS_MEMFD_CREATE, uintptr(unsafe.Pointer(&name[0])), unix.MFD_CLOEXEC)
			if err != nil {
				return err
			}
			link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
			if err != nil {
				return fmt.Errorf("read name: %w", err)
			}
			link = strings.TrimSuffix(strings.TrimPrefix(link, "/memfd:"), " (deleted)")
			fmt.Println(link)
			if err := unix.Close(int(fd)); err != nil {
				return err
			}
		}
		return nil
	},
	"module": func(*told) error {
		f, err := os.Open(os.Args[1])
		if err != nil {
			return fmt.Errorf("open: %w", err)
		}
		return unix.FinitModule(int(f.Fd()), "", 0)
	},
	"rmmod": func(*told) error { return unix.DeleteModule(os.Args[1], 0) },
}

// withVictim runs act on a process of another user, which then ends.
func withVictim(t *told, act func(pid int) error) error {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"MERLON_TEST_ROLE=sleep"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1234, Gid: 4321}, Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start victim: %w", err)
	}
	t.target = cmd.Process.Pid
	err = act(t.target)
	_ = cmd.Process.Kill()
	_ = in.Close()
	_ = cmd.Wait()
	return err
}

// writable returns the address of some writable memory of the process.
func writable(pid int) uint64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		var from, to uint64
		var prot string
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &from, &to, &prot); n == 3 && strings.HasPrefix(prot, "rw-p") {
			return from
		}
	}
	return 0
}

// loadHelper loads a BPF program that could send signals, and lets go of it.
func loadHelper(t *told) error {
	insns := [][8]byte{
		{0xb7, 1, 0, 0, 0, 0, 0, 0},   // r1 = 0
		{0x85, 0, 0, 0, 109, 0, 0, 0}, // call bpf_send_signal
		{0xb7, 0, 0, 0, 0, 0, 0, 0},   // r0 = 0
		{0x95},                        // exit
	}
	license := []byte("GPL\x00")
	attr := struct {
		typ, count     uint32
		insns, license uint64
		logLevel, size uint32
		log            uint64
		version, flags uint32
		name           [16]byte
		rest           [8]uint64
	}{typ: 5, count: 4, insns: uint64(uintptr(unsafe.Pointer(&insns[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0])))}
	copy(attr.name[:], "pv_test")
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(insns)
	runtime.KeepAlive(license)
	if errno != 0 {
		return errno
	}
	info, err := os.ReadFile(fmt.Sprintf("/proc/thread-self/fdinfo/%d", fd))
	if err != nil {
		return fmt.Errorf("read the program's tag: %w", err)
	}
	if _, tag, ok := strings.Cut(string(info), "prog_tag:\t"); ok {
		t.tag, _, _ = strings.Cut(tag, "\n")
	}
	return unix.Close(int(fd))
}
