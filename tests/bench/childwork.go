package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The small loops run in a process of their own, on one locked thread and by
// raw system calls, so that next to nothing but the calls is measured.

// deed is what such a process does again and again, in a directory of its own.
type deed struct {
	name string
	prep func(dir string) (once func(i int) error, end func(), err error)
}

func deeds() []deed {
	return []deed{
		{"open", opening},
		{"create", creating},
		{"tcp", connecting},
		{"tcp-reset", resetting},
	}
}

// childReport is what the process prints.
type childReport struct {
	Wall time.Duration `json:"wall_ns"`
	CPU  time.Duration `json:"cpu_ns"` // of the thread that did it
	N    int           `json:"n"`
}

// workChild does a deed n times, or until ctx ends when n is 0, and prints
// what it took.
func workChild(ctx context.Context, name string, args []string) error {
	if len(args) != 2 {
		return errors.New("do work: want a directory and a number")
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return fmt.Errorf("do work: %w", err)
	}
	for _, d := range deeds() {
		if d.name == name {
			return d.run(ctx, args[0], n)
		}
	}
	return fmt.Errorf("do work: no work %q", name)
}

func (d *deed) run(ctx context.Context, dir string, n int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	debug.SetGCPercent(-1) // it allocates next to nothing
	once, end, err := d.prep(dir)
	if err != nil {
		return fmt.Errorf("do %s: %w", d.name, err)
	}
	defer end()
	wall, cpu := time.Now(), clock(unix.CLOCK_THREAD_CPUTIME_ID)
	i := 0
	for ; i < n || n == 0 && (i%64 != 0 || ctx.Err() == nil); i++ {
		if err := once(i); err != nil {
			return fmt.Errorf("do %s: %w", d.name, err)
		}
	}
	rep := childReport{CPU: clock(unix.CLOCK_THREAD_CPUTIME_ID) - cpu, Wall: time.Since(wall), N: i}
	if err := json.NewEncoder(os.Stdout).Encode(rep); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// inChild does a deed n times in a process of its own.
func inChild(ctx context.Context, name, dir string, n int) (spent, error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-child", "work-"+name, dir, strconv.Itoa(n))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it reports what it did
	cmd.WaitDelay = 5 * time.Second
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil && len(out) == 0 {
		return spent{}, fmt.Errorf("run child: %w", err)
	}
	var rep childReport
	if err := json.Unmarshal(out, &rep); err != nil {
		return spent{}, fmt.Errorf("read report of child: %w", err)
	}
	return spent{wall: rep.Wall, cpu: rep.CPU, n: rep.N}, nil
}

// opening opens, reads and closes files that are there.
func opening(dir string) (func(int) error, func(), error) {
	const size = 4096
	var names [64]*byte
	for i := range names {
		path := filepath.Join(dir, fmt.Sprintf("there-%d", i))
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			return nil, nil, err
		}
		names[i] = unsafe.StringData(path + "\x00")
	}
	buf := make([]byte, size)
	return func(i int) error {
		fd, err := rawOpen(names[i%len(names)], unix.O_RDONLY)
		if err != nil {
			return err
		}
		return errors.Join(rawRead(fd, buf), rawClose(fd))
	}, func() {}, nil
}

// creating makes a file, writes it, closes it and removes it: each time
// another one, so that no two of them can be taken for one.
func creating(dir string) (func(int) error, func(), error) {
	name := []byte(filepath.Join(dir, fmt.Sprintf("new-%d-00000000\x00", os.Getpid())))
	digits := name[len(name)-9 : len(name)-1]
	buf := make([]byte, 64)
	return func(i int) error {
		for at := range digits {
			digits[at] = '0' + byte(i>>(3*(len(digits)-1-at))&7)
		}
		fd, err := rawOpen(&name[0], unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
		if err != nil {
			return err
		}
		return errors.Join(rawWrite(fd, buf), rawClose(fd), rawUnlink(&name[0]))
	}, func() {}, nil
}

// connecting makes a connection over the loopback interface, accepts it and
// closes both ends, the accepted one first.
func connecting(string) (func(int) error, func(), error) { return loopback(false) }

// resetting does the same and ends the connection by a reset, which leaves
// nothing behind: for more connections than there are ports.
func resetting(string) (func(int) error, func(), error) { return loopback(true) }

// loopback needs no second thread: the kernel completes a connection to a
// listener of the same machine before connect(2) returns.
func loopback(reset bool) (func(int) error, func(), error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	end := func() { _ = unix.Close(fd) }
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{}), unix.Listen(fd, 128)); err != nil {
		end()
		return nil, nil, err
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		end()
		return nil, nil, err
	}
	to := &unix.RawSockaddrInet4{Family: unix.AF_INET}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&to.Port))[:], uint16(bound.(*unix.SockaddrInet4).Port))
	return func(i int) error {
		// Many addresses, so that no port is waited for after a close.
		to.Addr = [4]byte{127, 0, 1, byte(1 + i%200)}
		return connection(uintptr(fd), to, reset)
	}, end, nil
}

func connection(listener uintptr, to *unix.RawSockaddrInet4, reset bool) error {
	client, err := rawTCP()
	if err != nil {
		return err
	}
	if err := rawConnect(client, to); err != nil {
		return errors.Join(err, rawClose(client))
	}
	server, err := rawAccept(listener)
	if err != nil {
		return errors.Join(err, rawClose(client))
	}
	if reset {
		err = rawLinger(server)
	}
	return errors.Join(err, rawClose(server), rawClose(client))
}
