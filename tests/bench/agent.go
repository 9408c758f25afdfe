package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/merlon/merlon/internal/api"
	"github.com/merlon/merlon/internal/api/client"
)

// agent is a running agent of the bench's own, with its own socket and state.
type agent struct {
	dir    string
	cmd    *exec.Cmd
	client *client.Client
	log    *os.File
}

// startAgent starts the agent with that text as its configuration file, with
// none when it is empty, and returns once it has tried and attached everything
// that it is asked for.
func startAgent(ctx context.Context, s *settings, config string) (*agent, error) {
	a, err := launch(ctx, s, config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		st, err := a.client.Status(ctx, 0)
		if err == nil && !st.Probing {
			return a, nil
		}
		if perr := pause(ctx, 5*time.Millisecond); perr != nil {
			return nil, errors.Join(fmt.Errorf("start agent: it is not ready within a minute: %w", cmp.Or(err, perr)), a.stop())
		}
	}
}

// launch starts the agent's process.
func launch(ctx context.Context, s *settings, config string) (*agent, error) {
	dir, err := os.MkdirTemp("", "merlon-bench-")
	if err != nil {
		return nil, fmt.Errorf("start agent: %w", err)
	}
	a := &agent{dir: dir, client: client.New(filepath.Join(dir, "socket"))}
	if a.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		return nil, errors.Join(fmt.Errorf("start agent: %w", err), os.RemoveAll(dir))
	}
	args := []string{"run", "--socket", filepath.Join(dir, "socket"), "--state-dir", filepath.Join(dir, "state")}
	if config != "" {
		file := filepath.Join(dir, "config.yaml")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			return nil, errors.Join(fmt.Errorf("start agent: %w", err), a.log.Close(), os.RemoveAll(dir))
		}
		args = append(args, "--config", file)
	}
	a.cmd = exec.CommandContext(ctx, s.agent, args...)
	a.cmd.Stdout, a.cmd.Stderr = nil, a.log // what it prints is thrown away
	a.cmd.Cancel = func() error { return a.cmd.Process.Signal(syscall.SIGTERM) }
	a.cmd.WaitDelay = 10 * time.Second
	if err := a.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start agent: %w", err), a.log.Close(), os.RemoveAll(dir))
	}
	return a, nil
}

// stop ends the agent and removes what it was given. An agent that ends badly
// is an error with the end of its log.
func (a *agent) stop() error {
	a.client.Close()
	_ = a.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(15*time.Second, func() { _ = a.cmd.Process.Kill() })
	err := a.cmd.Wait()
	timer.Stop()
	if err != nil {
		log, _ := os.ReadFile(a.log.Name())
		err = fmt.Errorf("stop agent: %w: %s", err, log[max(0, len(log)-2000):])
	}
	return errors.Join(err, a.log.Close(), os.RemoveAll(a.dir))
}

func (a *agent) pid() int { return a.cmd.Process.Pid }

func (a *agent) status(ctx context.Context) (*api.Status, error) {
	st, err := a.client.Status(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("ask agent: %w", err)
	}
	return st, nil
}
