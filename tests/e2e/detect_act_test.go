package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// suspicious does what a detector is to find.
func suspicious(args []string) error {
	switch args[0] {
	case "cgroups": // enters cgroups and becomes another act there
		return enter(args[1], args[2:])
	case "metadata": // asks the metadata service, in a network of its own
		return askMetadata()
	case "dial": // connects to a unix socket
		c, err := net.Dial("unix", args[1])
		if err != nil {
			return err
		}
		defer c.Close()
		os.Exit(0)
	case "seize": // takes control of another user's process
		return seize(args[1])
	case "write": // writes a file
		if err := os.WriteFile(args[1], []byte("ssh-ed25519 AAAA e2e\n"), 0o600); err != nil {
			return err
		}
		os.Exit(0)
	case "drop": // writes a program and becomes it
		if err := copyProgram("/bin/true", args[1]); err != nil {
			return err
		}
		return unix.Exec(args[1], args[1:2], nil)
	}
	return errors.New("no such act")
}

// enter moves into cgroups, given as a list of directories, as a process that
// no login started.
func enter(dirs string, act []string) error {
	for _, dir := range strings.Split(dirs, ":") {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
			return err
		}
	}
	_ = os.WriteFile("/proc/self/loginuid", []byte("4294967295"), 0) // absent or unchanged where audit is not built
	return unix.Exec("/proc/self/exe", append([]string{os.Args[0], os.Args[1]}, act...), os.Environ())
}

func askMetadata() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr); err != nil {
		return err
	}
	if err := ifr.SetInet4Addr([]byte{169, 254, 169, 254}); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCSIFADDR, ifr); err != nil {
		return err
	}
	c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(c, &unix.SockaddrInet4{Port: 80, Addr: [4]byte{169, 254, 169, 254}}); !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("nobody listens, but connect says %w", err)
	}
	os.Exit(0)
	return nil
}

func seize(pid string) error {
	n, err := strconv.Atoi(pid)
	if err != nil {
		return err
	}
	if err := unix.PtraceSeize(n); err != nil {
		return err
	}
	os.Exit(0)
	return nil
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}

// cgroups makes a cgroup of that path in the unified hierarchy and in those of
// the v1 controllers that Merlon follows, and returns them for the act
// "cgroups".
func cgroups(t *testing.T, path string) string {
	t.Helper()
	needRoot(t)
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for _, line := range strings.Split(string(mounts), "\n") {
		f := strings.Fields(line)
		if len(f) < 4 || f[2] != "cgroup2" && (f[2] != "cgroup" || !strings.Contains(","+f[3]+",", ",pids,")) {
			continue
		}
		dir := filepath.Join(f[1], path)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			for d := dir; d != f[1]; d = filepath.Dir(d) {
				if os.Remove(d) != nil { // somebody else's
					break
				}
			}
		})
		dirs = append(dirs, dir)
	}
	if len(dirs) == 0 {
		t.Skip("no cgroups are mounted")
	}
	return strings.Join(dirs, ":")
}

// sleeper is a process of an ordinary user.
func sleeper(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("/bin/sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
	cmd.Dir = "/"
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}
