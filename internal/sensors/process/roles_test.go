package process

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// playRole is what the test binary does as a child of a test.
func playRole(role string) int {
	switch role {
	case "sleep":
		time.Sleep(time.Minute)
	case "crash":
		_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
		resetSignal(syscall.SIGABRT)
		_ = unix.Kill(os.Getpid(), unix.SIGABRT)
		time.Sleep(time.Minute)
	case "memfd", "deleted":
		return execUnnamed(role)
	case "threadexec": // exec from a thread that isn't the leader
		done := make(chan error)
		go execFromThread(done)
		fmt.Fprintln(os.Stderr, <-done)
	case "closed":
		for fd := range 3 {
			unix.Close(fd)
		}
		_ = unix.Exec(os.Args[1], os.Args[1:], nil)
	case "chroot": // args: root, directory, program by fd 3 or by path
		root, dir, prog := os.Args[1], os.Args[2], os.Args[3]
		if err := unix.Chroot(root); err != nil {
			fmt.Fprintln(os.Stderr, "chroot:", err)
			return 1
		}
		if err := unix.Chdir(dir); err != nil {
			fmt.Fprintln(os.Stderr, "chdir:", err)
			return 1
		}
		if prog == "fd" {
			return execveat(3, []string{"outside"})
		}
		fmt.Fprintln(os.Stderr, unix.Exec(prog, []string{prog}, nil))
	}
	return 1
}

// execFromThread runs a program from a thread that isn't the group's leader.
func execFromThread(failed chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() {
		go execFromThread(failed) // on another thread: this one is taken
		select {}
	}
	failed <- unix.Exec(os.Args[1], os.Args[1:], nil)
}

// resetSignal gives a signal back its default action, which the Go runtime
// has taken.
func resetSignal(sig syscall.Signal) {
	var act [32]byte // struct sigaction of all zero: SIG_DFL
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), ptr(act[:]), 0, 8, 0, 0)
}

func execUnnamed(role string) int {
	var fd int
	var err error
	if role == "memfd" {
		fd, err = unix.MemfdCreate("hidden name", 0)
	} else {
		path := os.Args[1]
		if err := os.WriteFile(path, nil, 0o755); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fd, err = unix.Open(path, unix.O_RDWR, 0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if _, err := unix.Write(fd, program(5)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ro, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	unix.Close(fd) // a file open for writing can't be executed
	if role == "deleted" {
		if err := os.Remove(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return execveat(ro, []string{"arg0"})
}

// execveat runs the file behind fd; it returns only when that failed.
func execveat(fd int, args []string) int {
	argv, err := syscall.SlicePtrFromStrings(args)
	if err != nil {
		return 1
	}
	empty := []byte{0}
	_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, uintptr(fd), ptr(empty), ptr(argv), 0, unix.AT_EMPTY_PATH, 0)
	fmt.Fprintln(os.Stderr, "execveat:", errno)
	return 1
}
