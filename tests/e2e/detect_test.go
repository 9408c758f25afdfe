package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/merlon/merlon/internal/api/client"
	"github.com/merlon/merlon/internal/event"
)

const boxID = "e2e0e2e0e2e0e2e0e2e0e2e0e2e0e2e0e2e0e2e0e2e0e2e0e2e0e2e0e2e0e2e0"

// needKind waits until a kind of events is told, and skips the test where this
// kernel does not tell it.
func (a *agent) needKind(kinds ...event.Kind) {
	a.t.Helper()
	a.proven()
	for _, n := range a.status().Needs {
		if slices.Contains(kinds, n.Kind) && !n.On {
			a.t.Skipf("this kernel does not tell of %s", n.Kind)
		}
	}
}

// alerts lists the rules of the alerts about a process.
func (a *agent) alerts(pid int) []string {
	a.t.Helper()
	var rules []string
	err := a.client.Alerts(context.Background(), client.Query{Last: 1000}, func(line []byte) error {
		al, _, err := client.DecodeAlert(line)
		if err == nil && al != nil && al.Process != nil && al.Process.PID == uint32(pid) {
			rules = append(rules, al.Rule.ID)
		}
		return err
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return rules
}

func mentions(t *testing.T, al *event.Alert, severity event.Severity, what string) {
	t.Helper()
	if al.Rule.Severity != severity || !strings.Contains(al.Reason, what) || len(al.Evidence) == 0 {
		t.Errorf("alert %s %s (%s), evidence %v; want %s with %q", al.Rule.ID, al.Rule.Severity, al.Reason, al.Evidence, severity, what)
	}
}

func TestDetectsContainers(t *testing.T) {
	a := start(t)
	a.needKind(event.KindUnixConnect, event.KindNetConnect)
	box := cgroups(t, boxID)

	path := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	pid := do(t, "cgroups", box, "dial", path)
	mentions(t, a.awaitAlert("runtime-socket-container", pid), event.SeverityHigh, "container "+boxID[:12])

	pid = do(t, "cgroups", box, "metadata")
	mentions(t, a.awaitAlert("cloud-metadata", pid), event.SeverityMedium, "169.254.169.254:80")
}

func TestDetectsPtrace(t *testing.T) {
	a := start(t, withConfig("profile: full\n"))
	a.needKind(event.KindPtrace)
	target := sleeper(t)
	pid := do(t, "seize", fmt.Sprint(target))
	al := a.awaitAlert("ptrace-other-user", pid)
	if !strings.Contains(al.Reason, fmt.Sprintf("pid %d, uid 12345", target)) {
		t.Error(al.Reason)
	}
}

func TestDetectsFiles(t *testing.T) {
	a := start(t)
	a.needKind(event.KindFileClose, event.KindFileRename)
	ssh := filepath.Join(t.TempDir(), ".ssh")
	if err := os.Mkdir(ssh, 0o700); err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(ssh, "authorized_keys")
	pid := do(t, "write", keys)
	if al := a.awaitAlert("persist-ssh-key", pid); !strings.Contains(al.Reason, keys) {
		t.Error(al.Reason)
	}

	service := cgroups(t, "system.slice/merlon-e2e-drop.service")
	box := cgroups(t, boxID)
	path := filepath.Join(t.TempDir(), "dropped")
	pid = do(t, "cgroups", service, "drop", path)
	mentions(t, a.awaitAlert("drop-exec", pid), event.SeverityMedium, "the same service wrote")
	pid = do(t, "cgroups", box, "drop", path+"2")
	mentions(t, a.awaitAlert("drop-exec", pid), event.SeverityMedium, "the same container wrote")
	pid = do(t, "drop", path+"3") // of no service
	a.await(fmt.Sprintf("process.pid == %d && process.exe == %q", pid, path+"3"), "exec")
	for _, rule := range a.alerts(pid) {
		if rule == "drop-exec" {
			t.Error("what a person builds and runs raises an alert")
		}
	}
}
