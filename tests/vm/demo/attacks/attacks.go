package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	self     = "/proc/self/exe"
	stepName = "attacks-step" // argv[0] that lets argv[1] choose the disguise
	sh       = "/bin/sh"
	serverID = 33   // www-data
	userID   = 1000 // user
)

// attack is one look-alike.
type attack struct {
	rule  string // that should match
	title string
	did   string
	act   func() error
}

func attacks() []attack {
	return []attack{
		{"shell-socket", "a reverse shell", "ran /bin/sh with a TCP connection as its input and output", reverseShell},
		{"exec-memfd", "a program that is only in memory", "copied a program into a memfd and ran it from there", fromMemfd},
		{"exec-deleted", "a program whose file is gone", "opened a program in /var/tmp, deleted its file and ran it", deletedFile},
		{"exec-tmp-service", "a service account runs what it dropped in /dev/shm", "as www-data ran /dev/shm/update", dropped("/dev/shm/update")},
		{"exec-tmp-service", "a service account runs what it dropped in /tmp", "as www-data ran /tmp/update", dropped("/tmp/update")},
		{"ld-preload-setuid", "a library pushed into a setuid program", "as user ran the setuid program /usr/bin/passwd with LD_PRELOAD=/tmp/evil.so", preload},
		{"server-shell", "a web server starts a shell", "a program named nginx, running as www-data, started /bin/sh -c id", serverShell},
		{"root-gained", "root out of nowhere", "a program of user became root without a setuid file (its file has the capability cap_setuid)", rootGained},
	}
}

func reverseShell() error {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		return err
	}
	defer c.Close()
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := exec.Command(sh, "-i")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f, f, f
	return cmd.Run()
}

func fromMemfd() error {
	fd, err := unix.MemfdCreate("payload", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "payload")
	defer f.Close()
	if err := copySelf(f); err != nil {
		return err
	}
	return execFD(f)
}

func deletedFile() error {
	const name = "/var/tmp/gone"
	if err := drop(name); err != nil {
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(name); err != nil {
		return err
	}
	return execFD(f)
}

// execFD runs the program in an open file.
func execFD(f *os.File) error {
	cmd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	cmd.Args = []string{stepName, "sh"}
	return cmd.Run()
}

func dropped(name string) func() error {
	return func() error {
		if err := drop(name); err != nil {
			return err
		}
		return as(serverID, exec.Command(name)).Run()
	}
}

func preload() error {
	cmd := as(userID, exec.Command("/usr/bin/passwd"))
	cmd.Env = []string{"PATH=/usr/bin", "LD_PRELOAD=/tmp/evil.so"}
	return cmd.Run()
}

func serverShell() error { return as(serverID, exec.Command("/usr/sbin/nginx")).Run() }

func nginx() error { return exec.Command(sh, "-c", "id").Run() }

// rootGained lets user start a program whose file carries cap_setuid, which
// makes itself root and starts a shell: what remains visible of most kernel
// exploits is just that, a shell of root under a user's program.
func rootGained() error {
	const name = "/var/tmp/helper"
	if err := drop(name); err != nil {
		return err
	}
	// struct vfs_cap_data, revision 2 with the effective flag; bit 7 is
	// CAP_SETUID, bit 6 CAP_SETGID (include/uapi/linux/capability.h).
	caps := []byte{1, 0, 0, 2, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	if err := unix.Setxattr(name, "security.capability", caps, 0); err != nil {
		return fmt.Errorf("set capability of %s: %w", name, err)
	}
	return as(userID, exec.Command(name)).Run()
}

func helper() error {
	if err := syscall.Setuid(0); err != nil {
		return fmt.Errorf("become root: %w", err)
	}
	return syscall.Exec(sh, []string{"sh"}, os.Environ())
}

func as(id uint32, cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
	return cmd
}

// drop writes this binary as an executable file.
func drop(name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	err = copySelf(f)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

func copySelf(w io.Writer) error {
	f, err := os.Open(self)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}
