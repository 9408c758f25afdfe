package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/tests/vm/demo/report"
)

const (
	merlon   = "/usr/bin/merlon"
	socket   = "/run/merlon.sock"
	stateDir = "/run/merlon"
	agentLog = "/run/merlon.log"

	// patience is how long we wait for what should come at once: TCG on a
	// busy machine is slow.
	patience = 15 * time.Second
	// aftermath is how long we look for alerts that nobody expects.
	aftermath = time.Second
)

// agent is `merlon run`, as anybody would start it.
type agent struct {
	cmd    *exec.Cmd
	exited chan error
	seen   map[string]uint64 // count by alert id
}

// startAgent starts the agent, waits until it answers and reports what it
// printed meanwhile.
func startAgent() (*agent, error) {
	log, err := os.Create(agentLog)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	a := &agent{
		cmd:    exec.Command(merlon, "run", "--state-dir", stateDir, "--socket", socket),
		exited: make(chan error, 1),
		seen:   map[string]uint64{},
	}
	a.cmd.Stdout, a.cmd.Stderr = log, log
	if err := a.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the agent: %w", err)
	}
	go func() { a.exited <- a.cmd.Wait() }()
	for deadline := time.Now().Add(patience); ; {
		select {
		case err := <-a.exited:
			return nil, fmt.Errorf("the agent ended: %v", err)
		default:
		}
		_, err := a.ask("status")
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("the agent does not answer: %w", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	check, err := exec.Command(merlon, "check").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("merlon check: %w: %s", err, check)
	}
	return a, report.Write(os.Stdout, report.Record{Stage: report.Ready, Lines: lines(check)})
}

// stop ends the agent as Ctrl-C does.
func (a *agent) stop() {
	_ = a.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-a.exited:
	case <-time.After(patience):
		_ = a.cmd.Process.Kill()
	}
}

func (a *agent) ask(command string) ([]byte, error) {
	var complaint bytes.Buffer
	c := exec.Command(merlon, command, "--json", "--socket", socket)
	c.Stderr = &complaint
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("merlon %s: %w: %s", command, err, strings.TrimSpace(complaint.String()))
	}
	return out, nil
}

// newAlerts waits for a new alert of the rule and returns it with whatever
// else is new; none when the agent stays silent. Without a rule it returns
// what comes though nothing should.
func (a *agent) newAlerts(rule string) ([]event.Alert, error) {
	var fresh []event.Alert
	collect := func() error {
		out, err := a.ask("alerts")
		if err != nil {
			return err
		}
		alerts, err := decodeAlerts(out)
		if err != nil {
			return err
		}
		for _, alert := range alerts {
			if a.seen[alert.ID] < alert.Count {
				a.seen[alert.ID] = alert.Count
				fresh = append(fresh, alert)
			}
		}
		return nil
	}
	if rule == "" {
		time.Sleep(aftermath)
		err := collect()
		return fresh, err
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err := collect(); err != nil {
			return fresh, err
		}
		for _, f := range fresh {
			if f.Rule.ID == rule {
				time.Sleep(aftermath)
				err := collect()
				return fresh, err
			}
		}
	}
	return fresh, nil
}

// decodeAlerts reads one alert after the other. Other lines of the stream,
// which tell of losses, have no id.
func decodeAlerts(b []byte) ([]event.Alert, error) {
	var all []event.Alert
	for d := json.NewDecoder(bytes.NewReader(b)); d.More(); {
		var a event.Alert
		if err := d.Decode(&a); err != nil {
			return nil, fmt.Errorf("read alerts: %w", err)
		}
		if a.ID != "" {
			all = append(all, a)
		}
	}
	return all, nil
}

func lines(b []byte) []string { return strings.Split(strings.TrimRight(string(b), "\n"), "\n") }

// agentTail is the end of what the agent printed.
func agentTail() []string {
	b, err := os.ReadFile(agentLog)
	if err != nil {
		return []string{err.Error()}
	}
	l := lines(b)
	return l[max(0, len(l)-30):]
}
