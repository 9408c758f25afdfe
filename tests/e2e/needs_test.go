package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf/link"

	"github.com/merlon/merlon/internal/api"
	"github.com/merlon/merlon/internal/api/client"
	"github.com/merlon/merlon/internal/event"
)

// follower is a client that follows a stream until it is closed.
type follower struct {
	t      *testing.T
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	events []*event.Event
	notes  []string
}

// follow starts a follower and returns when the agent has begun to answer.
func (a *agent) follow(q client.Query) *follower {
	a.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{t: a.t, cancel: cancel, done: make(chan struct{})}
	started := make(chan struct{})
	q.Follow, q.Started = true, func() { close(started) }
	cl := client.New(a.socket)
	go func() {
		defer close(f.done)
		defer cl.Close()
		if err := cl.Events(ctx, q, f.take); err != nil && ctx.Err() == nil {
			a.t.Error(err)
		}
	}()
	a.t.Cleanup(f.close)
	select {
	case <-started:
	case <-f.done:
		a.t.Fatal("the stream ended before it began")
	}
	return f
}

func (f *follower) take(line []byte) error {
	ev, err := client.DecodeEvent(line)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.notes = append(f.notes, err.Error())
		return nil
	}
	f.events = append(f.events, ev)
	return nil
}

func (f *follower) close() { f.cancel(); <-f.done }

// all returns those events that match.
func (f *follower) all(match func(*event.Event) bool) []*event.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.events), func(ev *event.Event) bool { return !match(ev) })
}

// proven waits until the agent has tried every sensor.
func (a *agent) proven() {
	a.t.Helper()
	a.eventually("every sensor was tried", func() (bool, string) { return !a.status().Probing, "not yet" })
}

func need(st *api.Status, k event.Kind) api.Need {
	for _, n := range st.Needs {
		if n.Kind == k {
			return n
		}
	}
	return api.Need{}
}

// hooked counts the agent's programs of that prefix that are attached, by the
// kernel's own list of links.
func (a *agent) hooked(prefix string) int {
	a.t.Helper()
	ids := map[uint32]bool{}
	for _, p := range a.status().Programs {
		if strings.HasPrefix(p.Name, prefix) {
			ids[p.ID] = true
		}
	}
	n := 0
	it := new(link.Iterator)
	defer it.Close()
	for it.Next() {
		if info, err := it.Link.Info(); err == nil && ids[uint32(info.Program)] {
			n++
		}
	}
	if err := it.Err(); err != nil {
		a.t.Fatal(err)
	}
	return n
}

// bind takes an address of the loopback network, which names the act, and lets
// it go.
func bind(t *testing.T, addr string) {
	t.Helper()
	c, err := net.ListenPacket("udp4", addr+":0")
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

func bindOf(addr string) func(*event.Event) bool {
	return func(ev *event.Event) bool {
		return ev.Kind == event.KindNetBind && ev.Net != nil && ev.Net.LocalAddr == addr
	}
}

// A client's asking attaches the hooks of what it asks for, and nothing of it
// stays when it leaves.
func TestAClientsNeedsComeAndGo(t *testing.T) {
	a := start(t)
	a.proven()
	if n := a.hooked("net_bind"); n != 0 {
		t.Fatalf("%d hooks of net_bind before anybody asks", n)
	}
	if n := need(a.status(), event.KindNetBind); len(n.Askers) != 0 || n.On || len(n.Sensors) != 1 {
		t.Errorf("before: %+v", n)
	}
	f := a.follow(client.Query{Kinds: []string{"net_bin?"}})
	if a.hooked("net_bind") == 0 {
		t.Error("the stream has begun, and nothing is attached")
	}
	if n := need(a.status(), event.KindNetBind); !slices.Equal(n.Askers, []string{fmt.Sprintf("client pid %d", os.Getpid())}) || !n.On || n.Usual || len(n.Tiers) == 0 {
		t.Errorf("while a client asks: %+v", n)
	}
	// A kind nobody asked for before is reported from the first act on.
	bind(t, "127.7.7.1")
	a.eventually("the bind is reported", func() (bool, string) { return len(f.all(bindOf("127.7.7.1"))) == 1, "it is not" })

	second := a.follow(client.Query{Kinds: []string{"net_bind", "net_raw"}})
	f.close()
	a.eventually("the first client has left", func() (bool, string) {
		n := need(a.status(), event.KindNetBind)
		return len(n.Askers) == 1, fmt.Sprint(n.Askers)
	})
	bind(t, "127.7.7.2")
	a.eventually("the second client still sees binds", func() (bool, string) { return len(second.all(bindOf("127.7.7.2"))) == 1, "it does not" })
	second.close()
	a.eventually("the hooks are let go", func() (bool, string) {
		n := a.hooked("net_bind")
		return n == 0, fmt.Sprintf("%d are attached", n)
	})
	if n := need(a.status(), event.KindNetBind); len(n.Askers) != 0 || n.On {
		t.Errorf("after: %+v", n)
	}
}

// What one client asked for goes to that client alone.
func TestOthersKindsStayOut(t *testing.T) {
	a := start(t)
	asked, plain := a.follow(client.Query{Kinds: []string{"net_bind"}}), a.follow(client.Query{})
	bind(t, "127.7.8.1")
	a.eventually("who asked sees the bind", func() (bool, string) { return len(asked.all(bindOf("127.7.8.1"))) == 1, "it does not" })
	cmd := exec.Command("/bin/true", "e2e-marker")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	marker := func(ev *event.Event) bool {
		return ev.Kind == event.KindExec && ev.Process.PID == uint32(cmd.Process.Pid)
	}
	a.eventually("the other sees what came after", func() (bool, string) { return len(plain.all(marker)) == 1, "it does not" })
	for _, ev := range plain.all(func(ev *event.Event) bool { return !need(a.status(), ev.Kind).Usual && ev.Kind != event.KindLoss }) {
		t.Errorf("a client that asked for nothing gets %s", ev.Kind)
	}
	for _, ev := range asked.all(func(ev *event.Event) bool { return ev.Kind != event.KindNetBind }) {
		t.Errorf("a client that asked for net_bind gets %s", ev.Kind)
	}
	out, stderr, code := merlon(t, 0, "events", "--kind", "net_listen", "--socket", a.socket)
	if code != 0 || out != "" || !strings.Contains(stderr, "net_listen") || !strings.Contains(stderr, "follow them with -f") {
		t.Errorf("the past of what nobody asked for (exit %d): %q, %q", code, out, stderr)
	}
}

// Needs change all the time while much happens: what is asked for throughout
// is reported exactly once, every time.
func TestNeedsChangeUnderLoad(t *testing.T) {
	a := start(t, withConfig("events:\n  buffer: 65536\n  buffer_bytes: 256MiB\nrings:\n  queue: 32MiB\n"))
	a.proven()
	execs := a.follow(client.Query{Kinds: []string{"exec", "loss"}})
	binds := a.follow(client.Query{Kinds: []string{"net_bind", "loss"}})
	stop := make(chan struct{})
	var churn sync.WaitGroup
	changes := 0
	churn.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				changes = i
				return
			default:
			}
			f := a.follow(client.Query{Kinds: [][]string{{"net_*"}, {"net_bind", "signal"}, {"all"}, {"unix_connect", "exec"}}[i%4]})
			f.close()
		}
	})
	const acts = 300
	pids := map[uint32]int{}
	for i := range acts {
		cmd := exec.Command("/bin/true")
		if err := cmd.Run(); err != nil {
			t.Error(err)
			break
		}
		pids[uint32(cmd.Process.Pid)]++
		bind(t, fmt.Sprintf("127.9.%d.%d", i/200, i%200+1))
	}
	close(stop)
	churn.Wait()
	mine := func(ev *event.Event) bool { return ev.Kind == event.KindExec && pids[ev.Process.PID] > 0 }
	bound := func(ev *event.Event) bool {
		return ev.Kind == event.KindNetBind && ev.Net != nil && strings.HasPrefix(ev.Net.LocalAddr, "127.9.") && ev.Thread.PID == uint32(os.Getpid())
	}
	last := fmt.Sprintf("127.9.%d.%d", (acts-1)/200, (acts-1)%200+1)
	a.eventually("the last act is reported", func() (bool, string) {
		return len(binds.all(bindOf(last))) > 0 && len(execs.all(mine)) >= acts, fmt.Sprintf("%d of %d execs, %d binds", len(execs.all(mine)), acts, len(binds.all(bound)))
	})
	if n := len(execs.all(mine)); n != acts {
		t.Errorf("%d execs are reported as %d", acts, n)
	}
	if n := len(binds.all(bound)); n != acts {
		t.Errorf("%d binds are reported as %d", acts, n)
	}
	for _, f := range []*follower{execs, binds} {
		for _, ev := range f.all(func(ev *event.Event) bool { return ev.Kind == event.KindLoss }) {
			t.Errorf("lost: %+v", ev.Loss)
		}
	}
	if changes < 4 {
		t.Errorf("needs changed %d times only", changes)
	}
	t.Logf("%d changes of needs", changes)
}

// Whatever is asked for, the default profile attaches nothing that runs at
// every system call.
func TestNoSyscallTracepoints(t *testing.T) {
	a := start(t, withConfig("events:\n  kinds: [all]\n  read_paths: [/etc/]\n"))
	a.proven()
	a.eventually("all is attached", func() (bool, string) {
		n := need(a.status(), event.KindNetBind)
		return n.On && n.Usual, fmt.Sprintf("%+v", n)
	})
	st := a.status()
	if len(st.Syscalls) > 0 || st.Profile != "default" {
		t.Errorf("profile %s has hooks on system calls: %v", st.Profile, st.Syscalls)
	}
	ours := map[uint32]string{}
	for _, p := range st.Programs {
		ours[p.ID] = p.Name
	}
	it := new(link.Iterator)
	defer it.Close()
	seen := 0
	for it.Next() {
		info, err := it.Link.Info()
		if err != nil || ours[uint32(info.Program)] == "" {
			continue
		}
		seen++
		name := ""
		if rt := info.RawTracepoint(); rt != nil {
			name = rt.Name
		}
		if pe := info.PerfEvent(); pe != nil {
			if tp := pe.Tracepoint(); tp != nil {
				name, _ = tp.Tracepoint, 0
			}
		}
		if strings.HasPrefix(name, "sys_enter") || strings.HasPrefix(name, "sys_exit") {
			t.Errorf("%s is attached to %s", ours[uint32(info.Program)], name)
		}
	}
	if err := it.Err(); err != nil || seen < 10 {
		t.Errorf("%d links of the agent seen, %v", seen, err)
	}
	for _, h := range st.Hooks {
		if strings.Contains(h, "syscalls") || strings.Contains(h, "sys_enter") || strings.Contains(h, "sys_exit") {
			t.Errorf("hook %s", h)
		}
	}
}

// trace says which hooks serve it, prints the columns that people expect, and
// ends after as many lines as were asked for.
func TestTrace(t *testing.T) {
	a := start(t)
	a.proven()
	type result struct {
		out, stderr string
		code        int
	}
	done := make(chan result, 1)
	go func() {
		out, stderr, code := merlon(t, 0, "trace", "binds", "-n", "1", "--socket", a.socket, "--filter", `net.local_addr == "127.7.9.1"`)
		done <- result{out, stderr, code}
	}()
	var r result
	a.eventually("the trace ends", func() (bool, string) {
		bind(t, "127.7.9.1")
		select {
		case r = <-done:
			return true, ""
		default:
			return false, "it does not"
		}
	})
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	if r.code != 0 || len(lines) != 2 || !slices.Equal(strings.Fields(lines[0]), []string{"TIME", "PID", "COMM", "PROT", "ADDR", "PORT", "RESULT"}) {
		t.Fatalf("trace (exit %d): %q, %q", r.code, r.out, r.stderr)
	}
	if f := strings.Fields(lines[1]); len(f) < 6 || f[1] != fmt.Sprint(os.Getpid()) || !strings.Contains(lines[1], "127.7.9.1") {
		t.Errorf("trace prints %q", lines[1])
	}
	if !strings.Contains(r.stderr, "net_bind by ") {
		t.Errorf("the trace does not tell its hook: %q", r.stderr)
	}
	a.eventually("the trace's hooks are let go", func() (bool, string) { return a.hooked("net_bind") == 0, "they are not" })
	out, _, code := merlon(t, 0, "status", "--cost", "0", "--socket", a.socket)
	if code != 0 || !strings.Contains(out, "ASKED FOR BY") || !strings.Contains(out, "process tree, configuration") {
		t.Errorf("status (exit %d) does not tell who asks:\n%s", code, out)
	}
}

// The full profile takes system calls where nothing else tells of a kind, and
// the status says so, with the price.
func TestFullProfileIsTold(t *testing.T) {
	a := start(t, withConfig("profile: full\n"))
	a.proven()
	f := a.follow(client.Query{Kinds: []string{"memfd_create"}})
	defer f.close()
	st := a.status()
	n := need(st, event.KindMemfdCreate)
	if !slices.ContainsFunc(n.Tiers, func(t api.Tier) bool { return strings.HasPrefix(t.Tier, "system call") }) {
		t.Skipf("this kernel has better hooks for memfd_create: %+v", n.Tiers)
	}
	if !n.On || len(st.Syscalls) == 0 {
		t.Fatalf("need %+v, hooks on system calls %v", n, st.Syscalls)
	}
	out, _, code := merlon(t, 0, "status", "--cost", "0", "--socket", a.socket)
	if code != 0 || !strings.Contains(out, "on every system call of this host") || !strings.Contains(out, st.Syscalls[0]) {
		t.Errorf("status (exit %d) does not tell the price:\n%s", code, out)
	}
}
