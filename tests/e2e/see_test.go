package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/merlon/merlon/internal/api/client"
	"github.com/merlon/merlon/internal/event"
)

// events returns what the agent keeps that matches.
func (a *agent) events(filter string, kinds ...string) []*event.Event {
	a.t.Helper()
	var list []*event.Event
	err := a.client.Events(context.Background(), client.Query{Last: -1, Filter: filter, Kinds: kinds}, func(line []byte) error {
		ev, err := client.DecodeEvent(line)
		list = append(list, ev)
		return err
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return list
}

// await waits for one event that matches.
func (a *agent) await(filter string, kinds ...string) *event.Event {
	a.t.Helper()
	var found *event.Event
	a.eventually("there is an event with "+filter, func() (bool, string) {
		list := a.events(filter, kinds...)
		if len(list) > 0 {
			found = list[0]
		}
		return found != nil, "there is none"
	})
	return found
}

// awaitAlert waits for an alert of a rule about a process.
func (a *agent) awaitAlert(rule string, pid int) *event.Alert {
	a.t.Helper()
	var found *event.Alert
	a.eventually("there is an alert of "+rule, func() (bool, string) {
		var rules []string
		err := a.client.Alerts(context.Background(), client.Query{Last: 1000}, func(line []byte) error {
			al, _, err := client.DecodeAlert(line)
			if err == nil && al != nil {
				rules = append(rules, al.Rule.ID)
				if al.Rule.ID == rule && al.Process != nil && al.Process.PID == uint32(pid) {
					found = al
				}
			}
			return err
		})
		if err != nil {
			a.t.Fatal(err)
		}
		return found != nil, fmt.Sprintf("there are alerts of %v", rules)
	})
	return found
}

// The life of a process arrives whole: fork, exec, exit, with its ancestry up
// to the test itself, users by name, and hostile bytes unchanged.
func TestProcessLife(t *testing.T) {
	a := start(t)
	mark := "e2e-\x1b[31m\xff\u202e-life"
	cmd := exec.Command("/bin/sh", "-c", "exit 7", mark, "two words", "")
	cmd.Dir = t.TempDir()
	_ = cmd.Run() // exits with 7
	pid := cmd.Process.Pid
	ex := a.await(fmt.Sprintf(`process.pid == %d`, pid), "exec")
	want := []event.Text{"/bin/sh", "-c", "exit 7", event.Text(mark), "two words", ""}
	if !slices.Equal(ex.Exec.Args, want) {
		t.Errorf("args %q, want %q", ex.Exec.Args, want)
	}
	if string(ex.Process.CWD) != cmd.Dir || ex.Process.PPID != uint32(os.Getpid()) || ex.Process.User != "root" {
		t.Errorf("cwd %q ppid %d user %q, want %q %d root", string(ex.Process.CWD), ex.Process.PPID, ex.Process.User, cmd.Dir, os.Getpid())
	}
	real, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if string(ex.Process.Exe) != real {
		t.Errorf("exe %q, want %q", string(ex.Process.Exe), real)
	}
	exit := a.await(fmt.Sprintf(`process.pid == %d && exit.code == 7`, pid), "exit")
	if exit.Process.Exe != ex.Process.Exe || exit.Process.Start != ex.Process.Start {
		t.Errorf("exit is of %q since %d, exec of %q since %d", exit.Process.Exe, exit.Process.Start, ex.Process.Exe, ex.Process.Start)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The test was there before the agent: its ancestry comes from the seed.
	a.await(fmt.Sprintf(`process.pid == %d && process.parent.exe == %q && process.ancestors.exists(p, p.pid == 1)`, pid, self), "exec")
	a.await(fmt.Sprintf(`process.pid == %d`, pid), "fork")

	// The commands print the same: raw for nobody.
	pretty, _, code := merlon(t, 0, "events", "-n", "-1", "--socket", a.socket, "--filter", fmt.Sprintf("process.pid == %d", pid))
	if code != 0 || strings.Contains(pretty, "\x1b") || strings.Contains(pretty, "\xff") || !strings.Contains(pretty, `e2e-\x1b[31m\xff\u{202e}-life`) {
		t.Errorf("pretty output (exit %d): %q", code, pretty)
	}
	out, _, code := merlon(t, 0, "events", "-n", "-1", "--json", "--kind", "exec", "--socket", a.socket, "--filter", fmt.Sprintf("process.pid == %d", pid))
	var back event.Event
	if err := json.Unmarshal([]byte(out), &back); err != nil || code != 0 {
		t.Fatalf("json output (exit %d): %v: %q", code, err, out)
	}
	if !slices.Equal(back.Exec.Args, want) || strings.Contains(out, "\x1b") {
		t.Errorf("json output has args %q, want %q", back.Exec.Args, want)
	}
	a.eventually("run prints the process", func() (bool, string) {
		return strings.Contains(a.out.String(), `\x1b[31m\xff`), "it does not"
	})
	if strings.Contains(a.out.String(), "\x1b[31m") {
		t.Error("run prints hostile bytes raw")
	}
}

func TestAlerts(t *testing.T) {
	a := start(t)
	memfd := do(t, "memfd", "e2e-memfd", "with \x1b]0;title\x07")
	al := a.awaitAlert("exec-memfd", memfd)
	if al.Count != 1 || al.Rule.Severity.Rank() == 0 || len(al.Evidence) == 0 {
		t.Errorf("alert %+v", al)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	pid := do(t, "reverse-shell", l.Addr().String())
	al = a.awaitAlert("shell-socket", pid)
	if !strings.Contains(fmt.Sprint(al.Evidence), fmt.Sprint(l.Addr().(*net.TCPAddr).Port)) {
		t.Errorf("the evidence does not name the peer: %v", al.Evidence)
	}
	out, _, code := merlon(t, 0, "alerts", "--socket", a.socket)
	if code != 0 || !strings.Contains(out, "rule exec-memfd") || !strings.Contains(out, "rule shell-socket") || strings.Contains(out, "\x1b") {
		t.Errorf("alerts (exit %d): %q", code, out)
	}
	a.eventually("run prints the alerts", func() (bool, string) {
		return strings.Contains(a.out.String(), "rule exec-memfd"), "it does not"
	})
	if st := a.status(); len(st.Alerts) < 2 {
		t.Errorf("the status counts %+v", st.Alerts)
	}

	// Alerts outlive the agent.
	if err := a.stop(15); err != nil {
		t.Fatalf("SIGTERM: %v", err)
	}
	b := start(t, withState(a.state))
	b.awaitAlert("exec-memfd", memfd)
}

func TestCommands(t *testing.T) {
	a := start(t)
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"status"}, []string{"EVENTS", "proc_exec", "of the binary", "measured over"}},
		{[]string{"status", "--json", "--cost", "0"}, []string{`"uptime_seconds"`, `"programs"`, `"degraded"`}},
		{[]string{"ps"}, []string{"PID", "merlon run"}},
		{[]string{"config", "print", "--running"}, []string{"state_dir: " + a.state}},
		{[]string{"log-level"}, []string{"info"}},
		{[]string{"log-level", "debug", "--json"}, []string{`"level": "debug"`}},
		{[]string{"alerts"}, nil},
	} {
		out, stderr, code := merlon(t, 0, append(c.args, "--socket", a.socket)...)
		if code != 0 {
			t.Errorf("%v exits with %d: %s", c.args, code, stderr)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%v does not print %q:\n%s", c.args, want, out)
			}
		}
	}
	out, _, _ := merlon(t, 0, "ps", "--json", "--socket", a.socket)
	seen := false
	for dec := json.NewDecoder(bytes.NewReader([]byte(out))); dec.More(); {
		var p event.Process
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		seen = seen || int(p.PID) == os.Getpid()
	}
	if !seen {
		t.Error("ps does not know this test")
	}
	_, stderr, code := merlon(t, 0, "events", "--socket", a.socket, "--filter", `proces.pid == 1`)
	if code != 1 || !strings.Contains(stderr, "did you mean process?") {
		t.Errorf("a wrong filter exits with %d: %s", code, stderr)
	}
}

func TestMetrics(t *testing.T) {
	a := start(t, withConfig("metrics:\n  listen: 127.0.0.1:0\n"))
	text, err := a.client.Text(context.Background(), "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`merlon_events_total{kind="exec"}`, `merlon_bpf_map_max_entries{map="events_crit"}`, `merlon_table_entries{table="process"}`,
		`merlon_bpf_program_verified_instructions{program="proc_exec"}`, "merlon_queue_bytes",
		`merlon_kind_askers{kind="exec"}`, "merlon_syscall_hooks 0"} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}
