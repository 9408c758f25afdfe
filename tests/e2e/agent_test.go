// Package e2e starts the real agent as root, in directories of its own, and
// watches it from outside: through its API, its output, and the kernel's own
// lists of what is attached.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/merlon/merlon/internal/api"
	"github.com/merlon/merlon/internal/api/client"
)

// patience is how long something may take that should come at once. It only
// bounds a failing test.
const patience = 30 * time.Second

var binary string

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == act {
		os.Exit(actor(os.Args[2:]))
	}
	code, err := withBinary(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// withBinary builds the agent where every user can run it, and runs the tests.
func withBinary(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "merlon-e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return 1, err
	}
	binary = filepath.Join(dir, "merlon")
	build := exec.Command("go", "build", "-o", binary, "../../cmd/merlon")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build the agent: %w\n%s", err, out)
	}
	return m.Run(), nil
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs CAP_BPF: run as root")
	}
}

// agent is a running `merlon run`.
type agent struct {
	t      *testing.T
	cmd    *exec.Cmd
	dir    string
	state  string
	socket string
	out    *output
	client *client.Client
	exited chan struct{}
	err    error // of Wait, once exited is closed
}

// output collects what a process prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

type option func(*agent)

// withState puts the state directory elsewhere.
func withState(dir string) option { return func(a *agent) { a.state = dir } }

// withConfig gives the agent a configuration file.
func withConfig(yaml string) option {
	return func(a *agent) {
		path := filepath.Join(a.dir, "merlon.yaml")
		if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
			a.t.Fatal(err)
		}
		a.cmd.Args = append(a.cmd.Args, "--config", path)
	}
}

// start starts an agent and waits until it answers. The test's end stops it.
func start(t *testing.T, opts ...option) *agent {
	t.Helper()
	needRoot(t)
	a := prepare(t, opts...)
	a.launch()
	a.eventually("the agent answers", func() (bool, string) {
		select {
		case <-a.exited:
			t.Fatalf("the agent ended: %v\n%s", a.err, a.out)
		default:
		}
		_, err := a.client.Status(context.Background(), 0)
		return err == nil, fmt.Sprint(err)
	})
	return a
}

func prepare(t *testing.T, opts ...option) *agent {
	dir := t.TempDir()
	a := &agent{t: t, dir: dir, state: filepath.Join(dir, "state"), socket: filepath.Join(dir, "socket"), out: &output{}, exited: make(chan struct{}),
		cmd: exec.Command(binary, "run")}
	for _, o := range opts {
		o(a)
	}
	a.cmd.Args = append(a.cmd.Args, "--socket", a.socket, "--state-dir", a.state)
	a.cmd.Stdout, a.cmd.Stderr = a.out, a.out
	a.client = client.New(a.socket)
	return a
}

func (a *agent) launch() {
	a.t.Helper()
	if err := a.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	go func() {
		a.err = a.cmd.Wait()
		close(a.exited)
	}()
	a.t.Cleanup(func() {
		_ = a.cmd.Process.Signal(syscall.SIGINT)
		select {
		case <-a.exited:
		case <-time.After(patience):
			_ = a.cmd.Process.Kill()
			a.t.Errorf("the agent does not stop\n%s", a.out)
		}
		a.client.Close()
		if a.t.Failed() {
			a.t.Logf("the agent printed:\n%s", tail(a.out.String(), 60))
		}
	})
}

// stop sends a signal and returns how the agent ended.
func (a *agent) stop(sig syscall.Signal) error {
	a.t.Helper()
	if err := a.cmd.Process.Signal(sig); err != nil {
		a.t.Fatal(err)
	}
	select {
	case <-a.exited:
	case <-time.After(patience):
		a.t.Fatalf("the agent does not end on %v\n%s", sig, a.out)
	}
	return a.err
}

func (a *agent) status() *api.Status {
	a.t.Helper()
	st, err := a.client.Status(context.Background(), 0)
	if err != nil {
		a.t.Fatal(err)
	}
	return st
}

// eventually waits until something holds; the string says what is instead.
func (a *agent) eventually(what string, holds func() (bool, string)) {
	a.t.Helper()
	why := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var ok bool
		if ok, why = holds(); ok {
			return
		}
	}
	a.t.Fatalf("waited in vain until %s: %s\n%s", what, why, tail(a.out.String(), 40))
}

// merlon runs a command as that user and returns what it prints and its exit
// code.
func merlon(t *testing.T, uid uint32, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &errs, "/"
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func tail(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
