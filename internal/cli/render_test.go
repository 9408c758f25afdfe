package cli

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/merlon/merlon/internal/event"
)

// plain is a printer without colours, as wide as given.
func plain(width int) *printer {
	p := &printer{painter: &painter{}}
	p.width.Store(int32(width))
	return p
}

// coloured is a printer with colours.
func coloured(width int) *printer {
	p := plain(width)
	p.colours = true
	return p
}

const hostile = "\x1b[31mred\x00\x07\xff\u202eevil\u009b2J\r\n"

func hostileProcess() *event.Process {
	parent := &event.Process{PID: 1, Exe: hostile, Comm: hostile}
	p := &event.Process{PID: 42, Start: 7, PPID: 1, Exe: hostile, Comm: hostile, Args: []event.Text{hostile, hostile}, User: hostile, Service: hostile,
		Cgroup: hostile, CWD: hostile, Container: &event.Container{ID: hostile, Runtime: hostile},
		File: &event.File{Path: hostile, Memfd: true, Unresolved: hostile, Mode: 0o6755, Upper: true}}
	p.SetParent(parent)
	return p
}

// hostileEvents are events of every kind whose every text is hostile.
func hostileEvents() []*event.Event {
	p := hostileProcess()
	list := hostileActs()
	return append(list, []*event.Event{
		{Kind: event.KindExec, Process: p, Exec: &event.Exec{Filename: hostile, Script: hostile, Args: []event.Text{hostile, hostile, ""},
			Env: []event.Var{{Name: hostile, Value: hostile}}, FDs: []event.FD{{Num: 7, Type: "socket", Path: hostile, Socket: &event.Socket{RemoteAddr: hostile}}}}},
		{Kind: event.KindExec, Process: p}, {Kind: event.KindExec},
		{Kind: event.KindExit, Process: p, Exit: &event.Exit{Signal: 9, Core: true}}, {Kind: event.KindExit},
		{Kind: event.KindFork, Process: p}, {Kind: event.KindFork},
		{Kind: event.KindLoss, Loss: &event.Loss{Of: hostile, Stage: hostile, Reason: hostile, Count: 3}}, {Kind: event.KindLoss},
		{Kind: event.KindCgroup, Cgroup: &event.Cgroup{Op: hostile, Path: hostile}}, {Kind: event.KindCgroup},
		{Kind: "unknown" + hostile},
	}...)
}

func hostileAlert() *event.Alert {
	return &event.Alert{ID: hostile, Rule: event.Rule{ID: hostile, Title: hostile, Severity: hostile, Attack: []string{hostile}}, Reason: hostile, Count: 2,
		Evidence: []event.Evidence{{Field: hostile, Value: hostile, Source: "user"}}, UserMemory: true, Process: hostileProcess()}
}

// checkSafe fails when text holds anything that a terminal would obey. Line
// feeds are ours: they are looked at by the caller.
func checkSafe(t *testing.T, what, text string) {
	t.Helper()
	for _, r := range strings.ReplaceAll(text, "\n", "") {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == unicode.ReplacementChar {
			t.Errorf("%s: %q holds %U", what, text, r)
			return
		}
	}
}

func TestHostileBytesNeverReachTheTerminal(t *testing.T) {
	for _, width := range []int{0, 40, 80, 200} {
		p := plain(width)
		for _, ev := range hostileEvents() {
			line := p.eventLine(ev)
			checkSafe(t, string(ev.Kind), line)
			if strings.Contains(line, "\n") {
				t.Errorf("an event takes more than a line: %q", line)
			}
		}
		block := p.alertBlock(hostileAlert())
		checkSafe(t, "alert", block)
		if n := strings.Count(block, "\n"); n != 4 {
			t.Errorf("an alert takes %d lines: %q", n+1, block)
		}
		for _, line := range p.tree([]*event.Process{hostileProcess()}, true) {
			checkSafe(t, "ps", line)
			if strings.Contains(line, "\n") {
				t.Errorf("a process takes more than a line: %q", line)
			}
		}
	}
}

func TestHostileBytesInJSON(t *testing.T) {
	for _, ev := range hostileEvents() {
		b, err := json.Marshal(ev)
		if err != nil {
			t.Fatal(err)
		}
		out := safeJSON(b)
		checkSafe(t, "json", out)
		var want, got event.Event
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if d := cmp.Diff(&want, &got, cmp.AllowUnexported(event.Process{}), cmp.Comparer(func(a, b event.Text) bool { return a == b })); d != "" {
			t.Errorf("the JSON for terminals says something else:\n%s", d)
		}
	}
}

func TestEventLine(t *testing.T) {
	sshd := &event.Process{PID: 10, Exe: "/usr/sbin/sshd"}
	p := &event.Process{PID: 1234, PPID: 10, Exe: "/usr/bin/ls", User: "alice", Creds: event.Creds{EUID: 1000}, Service: "ssh.service", File: &event.File{Mode: 0o104755}}
	p.SetParent(sshd)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.Local)
	for _, c := range []struct {
		ev    event.Event
		width int
		want  string
	}{
		{event.Event{Time: at, Kind: event.KindExec, Process: p, Exec: &event.Exec{Args: []event.Text{"ls", "-l", "a b", ""}}}, 0,
			`03:04:05.006 exec      1234 alice      /usr/bin/ls -l 'a b' ''  [setuid]  ← sshd  ssh.service`},
		{event.Event{Time: at, Kind: event.KindExec, Process: p, Exec: &event.Exec{Args: []event.Text{"ls", "a very long argument that does not fit"}}}, 100,
			`03:04:05.006 exec      1234 alice      /usr/bin/ls 'a very long argu…  [setuid]  ← sshd  ssh.service`},
		{event.Event{Time: at, Kind: event.KindExit, Process: p, Exit: &event.Exit{Code: 2, CPU: 12 * time.Millisecond, Lifetime: 3 * time.Second, PeakRSS: 5 << 20}}, 0,
			`03:04:05.006 exit      1234 alice      ls exit 2  after 3.0s, 12ms CPU, 5.0 MiB  ssh.service`},
		{event.Event{Time: at, Kind: event.KindExit, Process: p, Exit: &event.Exit{Signal: 11, Core: true}}, 0,
			`03:04:05.006 exit      1234 alice      ls killed by SIGSEGV, core dumped  after 0ns, 0ns CPU, 0 B  ssh.service`},
		{event.Event{Time: at, Kind: event.KindFork, Process: p}, 0,
			`03:04:05.006 fork      1234 alice      forked by sshd 10  ssh.service`},
		{event.Event{Time: at, Kind: event.KindLoss, Loss: &event.Loss{Of: "exec", Stage: "kernel", Reason: "ring_full", Count: 12345}}, 0,
			`03:04:05.006 loss                      12,345 exec events lost: kernel, ring full`},
	} {
		got := plain(c.width).eventLine(&c.ev)
		if got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
		if c.width > 0 && columns(got) > c.width {
			t.Errorf("%d columns, the terminal has %d: %s", columns(got), c.width, got)
		}
		if colour := coloured(c.width).eventLine(&c.ev); !strings.Contains(colour, "\x1b[") {
			t.Errorf("no colours: %q", colour)
		}
	}
}

func TestLinesFitTheTerminal(t *testing.T) {
	p := hostileProcess()
	p.Exe = event.Text(strings.Repeat("宽", 300))
	for _, width := range []int{60, 80, 132} {
		for _, ev := range append(hostileEvents(), &event.Event{Kind: event.KindExec, Process: p, Exec: &event.Exec{Args: []event.Text{"a", event.Text(strings.Repeat("x", 9000))}}}) {
			if line := plain(width).eventLine(ev); columns(line) > width {
				t.Errorf("%d columns on a terminal of %d: %s", columns(line), width, line)
			}
		}
	}
}

func TestAlertBlock(t *testing.T) {
	sh := &event.Process{PID: 20, Exe: "/bin/sh", User: "www-data"}
	sh.SetParent(&event.Process{PID: 10, Exe: "/usr/sbin/nginx"})
	a := &event.Alert{Rule: event.Rule{ID: "server-shell", Title: "A server starts a shell", Severity: event.SeverityHigh, Attack: []string{"T1059"}},
		Reason: "nginx started sh", Last: time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local), Count: 3, Process: sh,
		Evidence: []event.Evidence{{Field: "process.exe", Value: "/bin/sh", Source: "kernel"}}}
	want := `▌  HIGH  A server starts a shell  2026-01-02 03:04:05  ×3
▌  nginx started sh
▌  www-data  nginx(10) → sh(20)
▌  process.exe=/bin/sh
▌  rule server-shell  ATT&CK T1059`
	if got := plain(0).alertBlock(a); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTree(t *testing.T) {
	mk := func(pid, ppid uint32, exe string) *event.Process {
		return &event.Process{PID: pid, Start: uint64(pid), PPID: ppid, PStart: uint64(ppid), Exe: event.Text(exe), Comm: "c", User: "root", Args: []event.Text{"x", "-a"}}
	}
	list := []*event.Process{mk(5, 3, "/e"), mk(1, 0, "/init"), mk(3, 1, "/c"), mk(2, 1, "/b"), mk(4, 2, ""), mk(9, 8, "/orphan")}
	var got []string
	for _, l := range plain(0).tree(list, true)[1:] {
		got = append(got, strings.TrimRight(l[pidWidth+userWidth+whereWidth+3:], " "))
	}
	want := []string{"/init -a", "├─ /b -a", "│  └─ [c]", "└─ /c -a", "   └─ /e -a", "/orphan -a"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("tree:\n%s", d)
	}
}

// Processes that claim to be each other's parents, or their own, must not
// hang the drawing.
func TestTreeWithCycles(t *testing.T) {
	list := []*event.Process{{PID: 1, PPID: 2}, {PID: 2, PPID: 1}, {PID: 3, PPID: 3}}
	if lines := plain(0).tree(list, true); len(lines) > 4 {
		t.Errorf("drew %d lines", len(lines))
	}
}

func TestUnits(t *testing.T) {
	for in, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 5 << 20: "5.0 MiB", 3 << 30: "3.0 GiB"} {
		if got := bytesText(in); got != want {
			t.Errorf("bytesText(%d) = %s, want %s", in, got, want)
		}
	}
	for in, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := countText(in); got != want {
			t.Errorf("countText(%d) = %s, want %s", in, got, want)
		}
	}
	for in, want := range map[time.Duration]string{-1: "0s", 999: "999ns", 1500: "2µs", 12 * time.Millisecond: "12ms", 90 * time.Second: "1m30s", 25 * time.Hour: "25h00m", 100 * time.Hour: "4d04h"} {
		if got := span(in); got != want {
			t.Errorf("span(%d) = %s, want %s", in, got, want)
		}
	}
	for in, want := range map[string]int{"abc": 3, "宽": 2, "e\u0301": 1} {
		if got := columns(in); got != want {
			t.Errorf("columns(%q) = %d, want %d", in, got, want)
		}
	}
	if got := fit("宽宽宽", 5); got != "宽宽…" {
		t.Errorf("fit = %q", got)
	}
}

func TestNoColourWhereItIsNotWanted(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if newPainter(w).colours {
		t.Error("a pipe gets colours")
	}
}

func FuzzEventLine(f *testing.F) {
	f.Add(hostile, hostile, 80)
	f.Add("/bin/true", "a b", 0)
	f.Fuzz(func(t *testing.T, exe, arg string, width int) {
		p := &event.Process{Exe: event.Text(exe), User: arg, Comm: event.Text(arg)}
		ev := &event.Event{Kind: event.KindExec, Process: p, Exec: &event.Exec{Args: []event.Text{event.Text(exe), event.Text(arg)}}}
		line := plain(width % 400).eventLine(ev)
		checkSafe(t, "line", line)
		if strings.Contains(line, "\n") {
			t.Errorf("more than a line: %q", line)
		}
	})
}
