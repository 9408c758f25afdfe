package kernel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// modeEnv makes this test binary act as a child process: tests need no other
// executable.
const modeEnv = "MERLON_KERNEL_TEST_MODE"

func TestMain(m *testing.M) {
	if mode := os.Getenv(modeEnv); mode != "" {
		os.Exit(actAs(mode))
	}
	os.Exit(m.Run())
}

// actAs runs one of the child's roles and prints its result as JSON.
func actAs(mode string) int {
	roles := map[string]func() (any, error){
		"open": roleOpen, "seccomp": roleSeccomp, "mounts": roleMounts, "hold": roleHold, "pidns": rolePIDNS,
	}
	result, err := roles[mode]()
	if err != nil {
		e := (*Error)(nil)
		if !errors.As(err, &e) {
			e = &Error{Cause: err.Error()}
		}
		result = e
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		return 1
	}
	if mode == "hold" {
		_ = unix.Pause() // until killed
	}
	return 0
}

// child starts this test binary in a role.
func child(role string, attr *syscall.SysProcAttr) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{modeEnv + "=" + role, "TMPDIR=" + os.TempDir()}
	cmd.SysProcAttr = attr
	cmd.Stderr = os.Stderr
	return cmd
}

// output runs a child to its end and decodes what it printed.
func output(t *testing.T, cmd *exec.Cmd, into any) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("run child: %v: %s", err, out.String())
	}
	if err := json.Unmarshal(out.Bytes(), into); err != nil {
		t.Fatalf("read child's answer %q: %v", out.String(), err)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_BPF: run as root")
	}
}

// open opens the kernel for a test and closes it with the test.
func open(t *testing.T, change ...func(*Options)) *Kernel {
	t.Helper()
	needRoot(t)
	o := Options{
		CriticalBytes: 1 << 20, BulkBytes: 1 << 20, PinDir: pinDir(t),
		Log:    slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
		Canary: []string{"/proc/self/exe", "-test.run=^$"},
	}
	for _, c := range change {
		c(&o)
	}
	k, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// pinDir names a directory for pins that only this test uses, and removes it.
func pinDir(t *testing.T) string {
	dir := filepath.Join("/sys/fs/bpf", fmt.Sprintf("merlon-test-%d-%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "-")))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func unitSpec(t *testing.T) *ebpf.CollectionSpec {
	t.Helper()
	spec, err := loadUnit()
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// load loads programs of the test's object that act on this process.
func load(t *testing.T, k *Kernel, name string, gen int, programs ...string) *Unit {
	t.Helper()
	u, err := k.Load(unitSpec(t), LoadOptions{Name: name, Programs: programs, Knobs: map[string]any{"t_tgid": os.Getpid(), "t_gen": gen}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	})
	return u
}

func attach(t *testing.T, u *Unit, prog string, target ...Target) {
	t.Helper()
	if err := u.Attach(prog, target...); err != nil {
		t.Fatal(err)
	}
}

// objects are kernel objects by id.
type objects struct {
	Programs, Links, Maps []uint32
}

func objectsOf(k *Kernel) (o objects) {
	for _, p := range k.Programs() {
		o.Programs = append(o.Programs, p.ID)
	}
	for _, l := range k.Links() {
		if l.ID != 0 {
			o.Links = append(o.Links, l.ID)
		}
	}
	for _, m := range k.Maps() {
		o.Maps = append(o.Maps, m.ID)
	}
	return o
}

// left returns those that still exist. The kernel frees them some time after
// the last reference went.
func (o objects) left() (left []string) {
	for end := time.Now().Add(20 * time.Second); ; {
		left = nil
		for _, id := range o.Programs {
			if p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id)); err == nil {
				left = append(left, fmt.Sprintf("program %d", id))
				p.Close()
			}
		}
		for _, id := range o.Links {
			if l, err := link.NewFromID(link.ID(id)); err == nil {
				left = append(left, fmt.Sprintf("link %d", id))
				l.Close()
			}
		}
		for _, id := range o.Maps {
			if m, err := ebpf.NewMapFromID(ebpf.MapID(id)); err == nil {
				left = append(left, fmt.Sprintf("map %d", id))
				m.Close()
			}
		}
		if len(left) == 0 || time.Now().After(end) {
			return left
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// runCanary executes this test binary once, as a child that does nothing.
func runCanary(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}
