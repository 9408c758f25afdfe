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
	rule  string // that should match; empty for what is no attack
	title string
	did   string
	act   func() error
}

func attacks() []attack {
	return []attack{
		{"", "nothing wrong", "ran /bin/sh -c id as root, as any administrator", func() error { return exec.Command(sh, "-c", "id").Run() }},
		{"shell-socket", "a reverse shell", "ran /bin/sh with a TCP connection as its input and output", reverseShell},
		{"exec-memfd", "a program that is only in memory", "copied a program into a memfd and ran it from there", fromMemfd},
		{"exec-deleted", "a program whose file is gone", "opened a program in /var/tmp, deleted its file and ran it", deletedFile},
		{"exec-tmp-service", "a service account runs what it dropped in /dev/shm", "as www-data ran /dev/shm/update", dropped("/dev/shm/update")},
		{"exec-tmp-service", "a service account runs what it dropped in /tmp", "as www-data ran /tmp/update", dropped("/tmp/update")},
		{"ld-preload-setuid", "a library pushed into a setuid program", "as user ran the setuid program /usr/bin/passwd with LD_PRELOAD=/tmp/evil.so", preload},
		{"server-shell", "a web server starts a shell", "a program named nginx, running as www-data, started /bin/sh -c id", serverShell},
		{"root-gained", "root out of nowhere", "as user ran a document that binfmt_misc hands to a program, which became root without being setuid (\"shadow SUID\")", rootGained},
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

// rootGained plays a "shadow SUID": binfmt_misc (Documentation/admin-guide/
// binfmt-misc.rst) hands files that start with certain bytes to an
// interpreter, with flag C under the credentials of the file. So a harmless
// looking setuid document makes a program root that is not setuid itself.
func rootGained() error {
	const (
		misc        = "/proc/sys/fs/binfmt_misc"
		interpreter = "/usr/lib/helper"
		document    = "/usr/share/report"
	)
	if err := unix.Mount("binfmt_misc", misc, "binfmt_misc", 0, ""); err != nil {
		return fmt.Errorf("mount binfmt_misc: %w", err)
	}
	if err := os.WriteFile(misc+"/register", []byte(":report:M::MERLON-REPORT::"+interpreter+":C"), 0o200); err != nil {
		return fmt.Errorf("register interpreter: %w", err)
	}
	if err := os.WriteFile(document, []byte("MERLON-REPORT\n"), 0o755); err != nil {
		return err
	}
	if err := os.Chmod(document, os.ModeSetuid|0o755); err != nil {
		return err
	}
	return as(userID, exec.Command(document)).Run()
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
