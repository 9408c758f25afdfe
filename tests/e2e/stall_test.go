package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"testing"

	"github.com/merlon/merlon/internal/api"
	"github.com/merlon/merlon/internal/api/client"
	"github.com/merlon/merlon/internal/event"
)

type apiDegraded = api.Degraded

// A client that stops reading blocks nobody: the others see everything, and
// it is told what it missed when it reads on.
func TestStalledClient(t *testing.T) {
	a := start(t, withConfig("events:\n  buffer: 64\n"))
	conn, err := net.Dial("unix", a.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /v1/events?follow=1&last=0 HTTP/1.1\r\nHost: merlon\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	a.eventually("the client is there", func() (bool, string) {
		st := a.status()
		return st.Clients >= 1, fmt.Sprint(st.Clients, " clients")
	})
	// It reads nothing while others act, until the agent says that it lost.
	n := 0
	a.eventually("the agent counts a loss", func() (bool, string) {
		for range 50 {
			if err := exec.Command("/bin/true", "e2e-stall").Run(); err != nil {
				t.Fatal(err)
			}
			n++
		}
		for _, l := range a.status().Losses {
			if l.Stage == "client" {
				return true, ""
			}
		}
		// The loss is counted when the agent comes to write to this client
		// again: let it have some room.
		_, err := io.CopyN(io.Discard, conn, 4096)
		return false, fmt.Sprintf("no loss after %d processes, %v", n, err)
	})
	last := exec.Command("/bin/true", "e2e-stall-last")
	if err := last.Run(); err != nil {
		t.Fatal(err)
	}
	a.await(fmt.Sprintf("process.pid == %d", last.Process.Pid), "exec") // another client sees it at once
}

// A stream of the real client ends in a clear way when the agent stops.
func TestFollowEndsWithTheAgent(t *testing.T) {
	a := start(t)
	cmd := exec.Command(binary, "events", "-f", "--json", "--socket", a.socket)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	errs := &output{}
	cmd.Stderr = errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(pipe)
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() {
		t.Fatal("no event") // its own exec is one
	}
	if ev, err := client.DecodeEvent(lines.Bytes()); err != nil || ev.Kind == "" {
		t.Errorf("the first line is %q: %v", lines.Text(), err)
	}
	if err := a.stop(2); err != nil {
		t.Error(err)
	}
	for lines.Scan() {
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("the client ends with %v", err)
	}
	if got := errs.String(); got == "" {
		t.Error("the client says nothing")
	}
}

// The loopback port serves metrics to local requests, and nothing else.
func TestMetricsPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	start(t, withConfig("metrics:\n  listen: "+addr+"\n"))
	get := func(path, host string) int {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if host != "" {
			req.Host = host
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	for _, c := range []struct {
		path, host string
		want       int
	}{{"/metrics", "", 200}, {"/metrics", "evil.example", 403}, {"/v1/events", "", 404}, {"/v1/log/level", "", 404}} {
		if got := get(c.path, c.host); got != c.want {
			t.Errorf("GET %s of host %q: %d, want %d", c.path, c.host, got, c.want)
		}
	}
}

// What was produced is delivered or counted as lost, whatever the pace.
func TestBooksBalance(t *testing.T) {
	a := start(t)
	for range 300 {
		if err := exec.Command("/bin/true", "e2e-books").Run(); err != nil {
			t.Fatal(err)
		}
	}
	a.eventually("all execs arrived", func() (bool, string) {
		n := len(a.events(`exec.args.size() == 2 && exec.args[1] == "e2e-books"`, string(event.KindExec)))
		lost := uint64(0)
		for _, l := range a.status().Losses {
			lost += l.Count
		}
		return uint64(n)+lost >= 300, fmt.Sprintf("%d arrived, %d lost", n, lost)
	})
}
