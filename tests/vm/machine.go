package vm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/merlon/merlon/tests/vm/plan"
)

// Machine is one run of a kernel: boot, jobs, power off.
type Machine struct {
	Kernel Kernel
	Image  *Image
	Init   string // path of the built tests/vm/init
	Tree   Tree   // what the jobs need; base files are added
	Jobs   []plan.Job
}

// ErrNoQEMU is returned where the emulator is not installed.
var ErrNoQEMU = errors.New("no QEMU on this machine")

// errEnded says that a machine died, or left, before its last job was done.
var errEnded = errors.New("the machine ended before its jobs did")

// FindQEMU returns the emulator for an architecture; the error wraps ErrNoQEMU
// and names the package that brings it.
func FindQEMU(arch string) (string, error) {
	name, pkg := "qemu-system-x86_64", "qemu-system-x86"
	if arch == "arm64" {
		name, pkg = "qemu-system-aarch64", "qemu-system-arm"
	}
	file, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%w: install it with: sudo apt-get install --no-install-recommends %s", ErrNoQEMU, pkg)
	}
	return file, nil
}

// arguments are the command line of the emulator. The console goes to a file,
// the second serial port to the emulator's own standard output. TCG always:
// that /dev/kvm exists doesn't mean that it works.
func (m *Machine) arguments(initrd, console string) []string {
	a := []string{
		"-accel", "tcg,thread=multi", "-m", "1024", "-smp", "2", "-no-reboot", "-nodefaults",
		"-display", "none", "-monitor", "none", "-nic", "none",
		"-serial", "file:" + console, "-chardev", "stdio,id=port,signal=off",
		"-kernel", m.Image.Kernel(), "-initrd", initrd,
	}
	tty := "ttyS0"
	if m.Kernel.Arch == "arm64" {
		tty = "ttyAMA0"
		// impdef: real pointer authentication is most of the time under TCG.
		a = append(a, "-machine", "virt", "-cpu", "max,pauth-impdef=on", "-device", "pci-serial,chardev=port")
	} else {
		// QEMU 7.2 mis-executes cmpxchg16b, which 6.12 uses where it can.
		a = append(a, "-machine", "pc", "-cpu", "max,-cx16", "-serial", "chardev:port")
	}
	line := []string{"console=" + tty, "panic=-1", "quiet", "loglevel=4", "random.trust_cpu=on"}
	if m.Kernel.LSM != "" {
		line = append(line, "lsm="+m.Kernel.LSM)
	}
	return append(a, "-append", strings.Join(line, " "))
}

// port is what the guest calls the second serial port.
func (m *Machine) port() string {
	if m.Kernel.Arch == "arm64" {
		return "/dev/ttyS0" // ttyAMA0 is the console, the PCI port is the first 8250
	}
	return "/dev/ttyS1"
}

// Run boots the machine and hands each line of the jobs' output to line,
// without its newline, from one goroutine. A plan.Mark begins a line of its
// own. It returns after power-off; where the machine ended otherwise (panic,
// deadline of ctx) the error holds the end of its console.
func (m *Machine) Run(ctx context.Context, line func(string)) error {
	qemu, err := FindQEMU(m.Kernel.Arch)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "merlon-vm-")
	if err != nil {
		return fmt.Errorf("prepare machine: %w", err)
	}
	defer os.RemoveAll(dir)
	initrd, console := filepath.Join(dir, "initrd"), filepath.Join(dir, "console")
	if err := m.writeInitramfs(initrd); err != nil {
		return err
	}
	off := false
	err = runEmulator(ctx, qemu, m.arguments(initrd, console), func(s string) {
		if e, ok := plan.Parse(s); ok && e.Stage == plan.Off {
			off = true
		}
		line(s)
	})
	switch {
	case off:
		return nil // whatever happens after power-off is the emulator's business
	case ctx.Err() != nil:
		err = fmt.Errorf("stopped: %w", context.Cause(ctx))
	case err == nil:
		err = errEnded
	}
	return fmt.Errorf("run %s: %w; the console ends with:\n%s", m.Kernel.Name, err, tail(console, 40))
}

// runEmulator owns the emulator's life: it ends with this process, whatever
// ends this process.
func runEmulator(ctx context.Context, qemu string, args []string, line func(string)) error {
	// Pdeathsig fires when the thread that started the child ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var complaint bytes.Buffer
	c := exec.CommandContext(ctx, qemu, args...)
	c.Stderr = &complaint
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("start emulator: %w", err)
	}
	readErr := eachLine(out, line)
	if err := c.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, lastLines(complaint.String(), 3))
	}
	return readErr
}

// eachLine splits at newlines and before marks: the 0x16 of plan.Mark, and of
// the test binaries' own marks, may stand in the middle of a line.
func eachLine(r io.Reader, line func(string)) error {
	b := bufio.NewReaderSize(r, 64<<10)
	for {
		s, err := b.ReadString('\n')
		s = strings.TrimRight(s, "\r\n")
		for {
			i := strings.IndexByte(s[min(1, len(s)):], 0x16)
			if i < 0 {
				break
			}
			line(s[:i+1])
			s = s[i+1:]
		}
		if s != "" || err == nil {
			line(s)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the machine's output: %w", err)
		}
	}
}

func tail(file string, n int) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(b), "\r", "")), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// base is what every machine has: users for tests that drop privileges, and
// /dev/console, without which init would start without stdio.
func (m *Machine) base() (Tree, error) {
	t := Tree{}
	t.AddHost("init", m.Init, 0o755)
	t.AddDevice("dev/console", 0o600, 5, 1)
	t.AddDevice("dev/null", 0o666, 1, 3)
	t.AddDir("root", 0o700)
	t.AddData("etc/passwd", []byte("root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\nuser:x:1000:1000:user:/home/user:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"), 0o644)
	t.AddData("etc/group", []byte("root:x:0:\nwww-data:x:33:\nuser:x:1000:\nnogroup:x:65534:\n"), 0o644)
	p := plan.Plan{Port: m.port(), Jobs: m.Jobs}
	for _, name := range m.Image.Modules {
		t.AddHost(path.Join("modules", name), filepath.Join(m.Image.Dir, name), 0o644)
		p.Modules = append(p.Modules, path.Join("/modules", name))
	}
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("write plan: %w", err)
	}
	t.AddData(strings.TrimPrefix(plan.File, "/"), b, 0o644)
	return t, nil
}

func (m *Machine) writeInitramfs(name string) error {
	t, err := m.base()
	if err != nil {
		return err
	}
	for n, f := range m.Tree {
		t[n] = f
	}
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := t.WriteCPIO(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	return f.Close()
}
