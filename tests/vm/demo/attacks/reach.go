package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// reaching are look-alikes of what comes after a break-in: staying, spreading,
// hiding.
func reaching() []attack {
	return []attack{
		{"persist-ssh-key", "a key to come back with", "added a key to /root/.ssh/authorized_keys", func() error { return put("/root/.ssh/authorized_keys") }},
		{"persist-cron", "a scheduled command", "made /etc/cron.d/update", func() error { return put("/etc/cron.d/update") }},
		{"drop-exec", "a service runs what it fetched", "a service wrote /srv/helper2 and ran it", inCgroup("system.slice/web.service", "fetcher")},
		{"ptrace-other-user", "a look into another user's process", "as root without a login took control of a process of www-data by ptrace", seize},
		{"runtime-socket-container", "a container that commands its host", "in a container connected to /run/docker.sock",
			inCgroup("docker/"+strings.Repeat("ca5e", 16), "escaper")},
		{"cloud-metadata", "the machine's credentials", "connected to 169.254.169.254", askMetadata},
	}
}

// tried waits until the agent has tried every sensor: until then it sees
// processes only.
func (a *agent) tried() error {
	for deadline := time.Now().Add(10 * patience); time.Now().Before(deadline); time.Sleep(time.Second) {
		out, err := a.ask("status")
		if err != nil {
			return err
		}
		var st struct {
			Probing *bool `json:"probing"`
		}
		if err := json.Unmarshal(out, &st); err != nil {
			return fmt.Errorf("read status: %w", err)
		}
		if st.Probing == nil || !*st.Probing {
			return nil
		}
	}
	return errors.New("the agent is still trying the sensors")
}

func put(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, []byte("look-alike\n"), 0o600)
}

// inCgroup plays a program in a cgroup, as systemd and the container runtimes
// start theirs.
func inCgroup(path, disguise string) func() error {
	return func() error {
		mount, err := cgroup2()
		if err != nil {
			return err
		}
		dir := filepath.Join(mount, path)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		f, err := os.Open(dir)
		if err != nil {
			return err
		}
		defer f.Close()
		cmd := exec.Command(self)
		cmd.Args = []string{stepName, disguise}
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd()), Setsid: true}
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
}

func cgroup2() (string, error) {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			return f[1], nil
		}
	}
	return "", errors.New("no cgroup2 is mounted")
}

// fetcher writes a program and becomes it.
func fetcher() error {
	const name = "/srv/helper2"
	if err := os.MkdirAll("/srv", 0o755); err != nil {
		return err
	}
	if err := drop(name); err != nil {
		return err
	}
	return unix.Exec(name, []string{stepName, "sh"}, nil)
}

func escaper() error {
	const name = "/run/docker.sock"
	l, err := net.Listen("unix", name)
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := net.Dial("unix", name)
	if err != nil {
		return err
	}
	return c.Close()
}

// waiter waits until its input ends.
func waiter() error {
	_, _ = os.Stdin.Read(make([]byte, 1))
	return nil
}

func seize() error {
	cmd := as(serverID, exec.Command(self))
	cmd.Args = []string{stepName, "waiter"}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = unix.PtraceSeize(cmd.Process.Pid)
	_ = in.Close()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return err
}

// askMetadata gives the loopback interface the address, so that there is
// somebody to refuse the connection.
func askMetadata() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq("lo:1")
	if err != nil {
		return err
	}
	if err := ifr.SetInet4Addr([]byte{169, 254, 169, 254}); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCSIFADDR, ifr); err != nil {
		return fmt.Errorf("give lo an address: %w", err)
	}
	c, err := net.Dial("tcp4", "169.254.169.254:80")
	if err == nil {
		return c.Close()
	}
	if errors.Is(err, unix.ECONNREFUSED) {
		return nil
	}
	return err
}
