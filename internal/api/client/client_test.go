package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/merlon/merlon/internal/api"
	"github.com/merlon/merlon/internal/event"
)

// agent answers the API's questions like the real one, from fixed data.
type agent struct {
	alerts []*event.Alert
	notes  []api.Problem

	mu       sync.Mutex
	asked    []string // calls of Ask
	released int
}

func (a *agent) Status(context.Context, time.Duration) (*api.Status, error) {
	return &api.Status{
		Version: "v1", PID: 7, Features: []event.Feature{{Name: "see exec"}},
		Events:   []api.KindCount{{Kind: event.KindExec, Count: 12}},
		Losses:   []api.LossCount{{Kind: event.KindExec, Stage: "kernel", Reason: "ring full", Count: 3}},
		Maps:     []api.Map{{Name: "m", Entries: 4, Max: 8}, {Name: "unknown", Entries: -1}},
		Programs: []api.Program{{Name: "p", Nanos: 2e9}, {Name: "p"}},
	}, nil
}
func (a *agent) Processes() []*event.Process {
	init := &event.Process{PID: 1, Comm: "init\xff"}
	sh := &event.Process{PID: 2, Comm: "sh"}
	sh.SetParent(init)
	return []*event.Process{init, sh}
}
func (a *agent) Alerts(_ context.Context, n int) ([]*event.Alert, error) {
	return a.alerts[max(0, len(a.alerts)-n):], nil
}
func (a *agent) Config(w io.Writer) error { _, err := io.WriteString(w, "socket: /a\n"); return err }

func (a *agent) Ask(_ context.Context, who string, kinds []event.Kind, paths []string) *api.Asked {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, fmt.Sprint(who, kinds, paths))
	return &api.Asked{Notes: a.notes, Release: func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.released++
	}}
}

type fixture struct {
	client *Client
	hub    *api.Hub
	agent  *agent
	level  *slog.LevelVar
	socket string
}

// start serves a real server on a real socket until the test ends.
func start(t *testing.T, access api.Access, buffer int) *fixture {
	t.Helper()
	f := &fixture{hub: api.NewHub(buffer, 8<<20, 4), agent: &agent{}, level: &slog.LevelVar{}, socket: filepath.Join(t.TempDir(), "s")}
	srv, err := api.New(api.Options{Agent: f.agent, Hub: f.hub, Access: access, Level: f.level, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := api.Listen(f.socket, -1, true)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	f.client = New(f.socket)
	t.Cleanup(func() {
		_ = f.hub.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		f.client.Close()
	})
	return f
}

// me lets the test's own user in, whoever runs it.
func me() api.Access { return api.Access{AdminUIDs: []uint32{uint32(os.Getuid())}} }

func TestAnswers(t *testing.T) {
	f, ctx := start(t, me(), 16), context.Background()
	st, err := f.client.Status(ctx, time.Second)
	if err != nil || st.PID != 7 {
		t.Errorf("status %+v, %v", st, err)
	}
	if list, err := f.client.Check(ctx); err != nil || len(list) != 1 {
		t.Errorf("check %v, %v", list, err)
	}
	if text, err := f.client.Text(ctx, api.PathConfig); err != nil || text != "socket: /a\n" {
		t.Errorf("config %q, %v", text, err)
	}
	var comms []string
	err = f.client.Processes(ctx, func(line []byte) error {
		p, err := DecodeProcess(line)
		if err == nil {
			comms = append(comms, string(p.Comm))
		}
		return err
	})
	if err != nil || !slices.Equal(comms, []string{"init\xff", "sh"}) {
		t.Errorf("processes %q, %v", comms, err)
	}
	if _, err := f.client.Text(ctx, "/v2/none"); err == nil || !strings.Contains(err.Error(), "no such path") {
		t.Errorf("unknown path: %v", err)
	}
	if _, err := f.client.Status(ctx, time.Hour); err == nil || !strings.Contains(err.Error(), "at most 10s") {
		t.Errorf("long measurement: %v", err)
	}
}

func TestMetrics(t *testing.T) {
	f := start(t, me(), 16)
	text, err := f.client.Text(context.Background(), api.PathMetrics)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`merlon_events_total{kind="exec"} 12`, `merlon_events_lost_total{kind="exec",reason="ring full",stage="kernel"} 3`,
		`merlon_bpf_map_entries{map="m"} 4`, `merlon_bpf_program_run_seconds_total{program="p"} 2`, "go_goroutines", "process_resident_memory_bytes",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(text, `merlon_bpf_map_entries{map="unknown"}`) {
		t.Error("metrics tell a number nobody knows")
	}
}

func TestLogLevel(t *testing.T) {
	f, ctx := start(t, me(), 16), context.Background()
	if err := f.client.SetLogLevel(ctx, "debug"); err != nil || f.level.Level() != slog.LevelDebug {
		t.Errorf("level %v, %v", f.level.Level(), err)
	}
	if l, err := f.client.LogLevel(ctx); err != nil || l != "debug" {
		t.Errorf("level %q, %v", l, err)
	}
	if err := f.client.SetLogLevel(ctx, "loud"); err == nil || !strings.Contains(err.Error(), "not a log level") {
		t.Errorf("bad level: %v", err)
	}
}

func collect(t *testing.T, c *Client, q Query) []*event.Event {
	t.Helper()
	var evs []*event.Event
	err := c.Events(context.Background(), q, func(line []byte) error {
		ev, err := DecodeEvent(line)
		evs = append(evs, ev)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return evs
}

func publish(h *api.Hub, n int) {
	for i := range n {
		kind := event.KindExec
		if i%2 == 1 {
			kind = event.KindExit
		}
		h.Event(&event.Event{Kind: kind, Process: &event.Process{PID: uint32(i), Exe: "/bin/\x1b\xff"}})
	}
}

func TestEventsOfThePast(t *testing.T) {
	f := start(t, me(), 100)
	publish(f.hub, 20)
	for _, c := range []struct {
		q           Query
		n           int
		first, last uint32
	}{
		{Query{Last: -1}, 20, 0, 19},
		{Query{Last: 3}, 3, 17, 19},
		{Query{Last: -1, Kinds: []string{"exec"}}, 10, 0, 18},
		{Query{Last: 2, Filter: `process.pid < 10 && kind == "exit"`}, 2, 7, 9},
		{Query{Last: 5, Kinds: []string{"exec", "exit"}, Filter: `process.exe.endsWith("/bin/") == false`}, 5, 15, 19},
	} {
		evs := collect(t, f.client, c.q)
		if len(evs) != c.n || evs[0].Process.PID != c.first || evs[len(evs)-1].Process.PID != c.last {
			t.Errorf("%+v: %d events, want %d from %d to %d", c.q, len(evs), c.n, c.first, c.last)
			continue
		}
		if evs[0].Process.Exe != "/bin/\x1b\xff" {
			t.Errorf("bytes changed on the way: %q", string(evs[0].Process.Exe))
		}
	}
	for q, want := range map[string]Query{
		"did you mean exec?": {Kinds: []string{"exek"}}, "did you mean process?": {Filter: `proces.pid == 1`},
	} {
		if err := f.client.Events(context.Background(), want, func([]byte) error { return nil }); err == nil || !strings.Contains(err.Error(), q) {
			t.Errorf("%+v: %v", want, err)
		}
	}
}

func TestAFilterThatCannotTell(t *testing.T) {
	f := start(t, me(), 100)
	publish(f.hub, 4)
	var problems int
	err := f.client.Events(context.Background(), Query{Last: -1, Filter: `1 / exit.code == 0`}, func(line []byte) error {
		var e *Error
		if _, err := DecodeEvent(line); errors.As(err, &e) && strings.Contains(e.Msg, "zero") {
			problems++
		}
		return nil
	})
	if err != nil || problems != 1 {
		t.Errorf("told %d times, %v; want once", problems, err)
	}
}

// A client that stops reading neither blocks the pipeline nor misses that it
// missed something.
func TestStalledClient(t *testing.T) {
	f := start(t, me(), 64)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	started, resume := make(chan struct{}), make(chan struct{})
	var once sync.Once
	got, lost := uint64(0), uint64(0)
	done := make(chan error, 1)
	const n = 100000
	go func() {
		done <- f.client.Events(ctx, Query{Last: -1, Follow: true}, func(line []byte) error {
			once.Do(func() { close(started) })
			<-resume
			ev, err := DecodeEvent(line)
			if err != nil {
				return err
			}
			if ev.Kind == event.KindLoss {
				lost += ev.Loss.Count
			} else {
				got++
			}
			if got+lost == n+1 {
				cancel()
			}
			return nil
		})
	}()
	for waiting := true; waiting; { // the first event tells that the stream is there
		if f.hub.Clients() > 0 {
			f.hub.Event(&event.Event{Kind: event.KindExec})
			waiting = false
		}
	}
	<-started
	publish(f.hub, n) // returns although nobody reads
	close(resume)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if lost == 0 || got+lost != n+1 {
		t.Errorf("%d delivered + %d lost, %d published", got, lost, n+1)
	}
	if f.hub.Dropped() != lost {
		t.Errorf("the hub counts %d lost, the client was told %d", f.hub.Dropped(), lost)
	}
}

func TestAlerts(t *testing.T) {
	f := start(t, me(), 16)
	f.agent.alerts = []*event.Alert{{ID: "a", Count: 1}, {ID: "b", Count: 2}}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var ids []string
	err := f.client.Alerts(ctx, Query{Last: 1, Follow: true}, func(line []byte) error {
		a, _, err := DecodeAlert(line)
		if err != nil {
			return err
		}
		ids = append(ids, fmt.Sprint(a.ID, a.Count))
		if len(ids) == 1 {
			for _, a := range []event.Alert{{ID: "b", Count: 2}, {ID: "b", Count: 3}, {ID: "c", Count: 1}} {
				f.hub.Alert(&a)
			}
		}
		if a.ID == "c" {
			cancel()
		}
		return nil
	})
	if err != nil || !slices.Equal(ids, []string{"b2", "b3", "c1"}) {
		t.Errorf("alerts %v, %v", ids, err)
	}
}

func TestRights(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: connects as other users")
	}
	f := start(t, api.Access{ReadUIDs: []uint32{1001}, ReadGIDs: []uint32{2002}, AdminUIDs: []uint32{1003}}, 16)
	if err := os.Chmod(filepath.Dir(f.socket), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(filepath.Dir(f.socket)), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		uid, gid     int
		read, change bool
	}{
		{0, 0, true, true}, {1001, 1001, true, false}, {1002, 2002, true, false}, {1003, 1003, true, true}, {1004, 1004, false, false},
	} {
		conn := dialAs(t, f.socket, c.uid, c.gid)
		cl := &Client{socket: f.socket, http: &http.Client{Transport: &http.Transport{
			DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		}}}
		_, err := cl.Status(context.Background(), 0)
		if (err == nil) != c.read {
			t.Errorf("uid %d gid %d reads: %v, want %v", c.uid, c.gid, err, c.read)
		}
		if !c.read {
			if !strings.Contains(fmt.Sprint(err), "user 1004 may not read") {
				t.Errorf("refusal does not say why: %v", err)
			}
			continue
		}
		if err := cl.SetLogLevel(context.Background(), "warn"); (err == nil) != c.change {
			t.Errorf("uid %d gid %d changes: %v, want %v", c.uid, c.gid, err, c.change)
		}
		cl.Close()
	}
}

// dialAs connects with other effective ids: SO_PEERCRED tells those of the
// time of connect(2). Only this thread's ids change, and it ends with the
// goroutine, since it stays locked.
func dialAs(t *testing.T, socket string, uid, gid int) net.Conn {
	t.Helper()
	type result struct {
		conn net.Conn
		err  error
	}
	ch := make(chan result)
	go func() {
		conn, err := dialLocked(socket, uid, gid)
		ch <- result{conn, err}
	}()
	r := <-ch
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.conn
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Listen(file, -1, false); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("over a file: %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file was touched: %q, %v", b, err)
	}
	live := filepath.Join(dir, "new", "live")
	l, err := api.Listen(live, -1, false)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(live); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if _, err := api.Listen(live, -1, false); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d answers", os.Getpid())) {
		t.Errorf("over a live socket: %v", err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close() // as if killed
	l, err = api.Listen(live, -1, true)
	if err != nil {
		t.Fatalf("over a left-over socket: %v", err)
	}
	if st, err := os.Stat(live); err != nil || st.Mode().Perm() != 0o666 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	_ = l.Close()
}

func TestNoAgent(t *testing.T) {
	_, err := New(filepath.Join(t.TempDir(), "none")).Status(context.Background(), 0)
	var e *Error
	if !errors.As(err, &e) || !Missing(err) || !strings.Contains(e.Cure, "merlon run") || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("%v", err)
	}
}

func FuzzDecodeEvent(f *testing.F) {
	f.Add([]byte(`{"kind":"exec","process":{"pid":1,"parent":{"pid":0}}}`))
	f.Add([]byte(`{"error":"no","cure":"yes"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		ev, err := DecodeEvent(line)
		if (ev == nil) == (err == nil) {
			t.Fatalf("event %v with error %v", ev, err)
		}
		_, _, _ = DecodeAlert(line)
		_, _ = DecodeProcess(line)
	})
}
