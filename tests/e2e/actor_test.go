package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// act as the first argument makes the test binary do one of the acts below.
const act = "e2e-act"

// actor does in a process of its own what the agent is to see.
func actor(args []string) int {
	var err error
	switch args[0] {
	case "memfd": // becomes a program that lives in memory only
		err = execMemfd(args[1:])
	case "reverse-shell": // becomes a shell whose stdin and stdout are a socket
		err = reverseShell(args[1])
	default:
		err = suspicious(args)
	}
	fmt.Fprintln(os.Stderr, args, err)
	return 1
}

func execMemfd(argv []string) error {
	image, err := os.ReadFile("/bin/true")
	if err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("e2e", 0)
	if err != nil {
		return err
	}
	if _, err := unix.Write(fd, image); err != nil {
		return err
	}
	return unix.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), argv, os.Environ())
}

func reverseShell(addr string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		return err
	}
	for fd := range 2 {
		if err := unix.Dup2(int(f.Fd()), fd); err != nil {
			return err
		}
	}
	return unix.Exec("/bin/sh", []string{"sh", "-c", "exit 0"}, nil)
}

// do runs an act and waits for its end.
func do(t *testing.T, args ...string) (pid int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{act}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return cmd.Process.Pid
}
