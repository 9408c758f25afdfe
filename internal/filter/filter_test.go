package filter

import (
	"strings"
	"testing"
	"time"

	"github.com/merlon/merlon/internal/event"
)

func compiler(t testing.TB) *Compiler {
	t.Helper()
	c, err := NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sample() *event.Event {
	sshd := &event.Process{PID: 10, Exe: "/usr/sbin/sshd", Comm: "sshd"}
	bash := &event.Process{PID: 20, Exe: "/bin/bash", Comm: "bash"}
	bash.SetParent(sshd)
	p := &event.Process{PID: 30, Start: 1 << 63, Exe: "/tmp/\xff\x1bx", Creds: event.Creds{UID: 1000, Effective: 1 << 21},
		File: &event.File{Mode: 0o104755}, Service: "ssh.service"}
	p.SetParent(bash)
	return &event.Event{Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Kind: event.KindExec, Process: p, Exec: &event.Exec{
		Filename: "./x", Args: []event.Text{"x", "-i"}, Env: []event.Var{{Name: "LD_PRELOAD", Value: "/tmp/a.so"}},
		FDs: []event.FD{{Num: 0, Type: "socket", Socket: &event.Socket{Family: "inet", RemotePort: 4444}}},
	}}
}

func TestMatch(t *testing.T) {
	c, ev := compiler(t), sample()
	for text, want := range map[string]bool{
		`kind == "exec"`: true,
		`kind == "exec" && process.exe.startsWith("/tmp/")`:                        true,
		`process.pid == 30 && process.creds.uid >= 1000`:                           true,
		`process.parent.exe == "/bin/bash"`:                                        true,
		`process.parent.parent.comm == "sshd"`:                                     true,
		`process.parent.parent.parent.parent.comm == ""`:                           true,
		`process.ancestors.exists(p, p.comm == "sshd")`:                            true,
		`process.ancestors.size() == 2`:                                            true,
		`process.ancestors[0].pid == 20`:                                           true,
		`process.parent.ancestors.exists(p, p.pid == 20)`:                          false,
		`exec.args.exists(a, a == "-i")`:                                           true,
		`exec.args.join(" ") == "x -i"`:                                            true,
		`exec.env.exists(v, v.name == "LD_PRELOAD" && v.value.startsWith("/tmp"))`: true,
		`exec.fds[0].socket.remote_port == 4444`:                                   true,
		`exec.fds.exists(f, f.type == "socket")`:                                   true,
		`cap(process.creds.cap_effective, "SYS_ADMIN")`:                            true,
		`cap(process.creds.cap_effective, "cap_net_raw")`:                          false,
		`cap(process.parent.creds.cap_effective, "SYS_ADMIN")`:                     false,
		`process.creds.cap_effective == process.creds.cap_permitted`:               false,
		`exit.code == 0 && !has(exit.code) && exit.cpu_ns == duration("0s")`:       true,
		`exit.cpu_ns > duration("1s")`:                                             false,
		`time > timestamp("2026-01-01T00:00:00Z")`:                                 true,
		`time.getHours() == 3`:                                                     true,
		`has(process.container)`:                                                   false,
		`has(process.file) && process.file.mode == 35309`:                          true,
		`process.container.id == ""`:                                               true,
		`has(process.parent) && !has(process.parent.parent.parent)`:                true,
		`process.service.matches("^ssh.*")`:                                        true,
		`process.start_ns == 9223372036854775807`:                                  true,
		`loss.count > 0`: false,
		`"exe" in ["exe"] && process.exe.contains("x")`: true,
	} {
		f, err := c.Compile(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := f.Match(ev); err != nil || got != want {
			t.Errorf("%s = %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestMatchOfAnEmptyEvent(t *testing.T) {
	f, err := compiler(t).Compile(`process.exe == "" && exec.args.size() == 0 && process.ancestors.size() == 0 && !has(process.parent)`)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := f.Match(&event.Event{}); !ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
}

func TestCompileErrors(t *testing.T) {
	c := compiler(t)
	for text, want := range map[string]string{
		`kidn == "exec"`:                        "filter 1:1: there is no kidn; did you mean kind?",
		`kind == "exec" && proces.exe == ""`:    "filter 1:19: there is no proces; did you mean process?",
		`process.exee == ""`:                    "Process has no field exee; did you mean exe?",
		`process.parent.pidd == 1`:              "Process has no field pidd; did you mean pid?",
		`process.filename == ""`:                "Process has no field filename; did you mean exec.filename?",
		`exe == "/bin/sh"`:                      "did you mean process.exe?",
		`inode == 3`:                            "process.file.inode",
		`process.pid == "1"`:                    "no matching overload",
		`process.pid`:                           "gives int, a filter must give true or false",
		"kind == \"exec\"\n  && procss.pid==1":  "filter 2:6: there is no procss",
		`kind ==`:                               "Syntax error",
		``:                                      "Syntax error",
		strings.Repeat("(", 100):                "filter 1:",
		strings.Repeat("a", maxSize+1):          "filter 1:",
		"kind == \"a\x1b[31m":                   `\x1b`,
		`kind == "a" || kinds == "b" || x == 1`: "kinds",
	} {
		_, err := c.Compile(text)
		if err == nil {
			t.Errorf("%q compiles", text)
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %q does not contain %q", text, err, want)
		}
		if strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q: raw control characters in %q", text, err)
		}
	}
}

func TestEvaluationErrors(t *testing.T) {
	c := compiler(t)
	ev := sample()
	for i := range 2000 {
		ev.Exec.Args = append(ev.Exec.Args, event.Text(strings.Repeat("a", i%50)))
	}
	for text, want := range map[string]string{
		`exec.args[99999] == ""`:                                             "index",
		`1 / exit.code == 0`:                                                 "zero",
		`cap(process.creds.cap_effective, "SYS_ADMINS")`:                     "there is no capability SYS_ADMINS",
		`exec.args.all(a, exec.args.all(b, a != "q" || b != "q"))`:           "cost limit",
		`exec.args.exists(a, exec.args.exists(b, a == "none" && b == "no"))`: "cost limit",
	} {
		f, err := c.Compile(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if ok, err := f.Match(ev); ok || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s = %v, %v, want an error with %q", text, ok, err, want)
		}
	}
}

func FuzzCompile(f *testing.F) {
	f.Add(`kind == "exec" && process.exe.startsWith("/tmp/")`)
	f.Add(`process.ancestors.exists(p, p.comm == "sshd" && cap(p.creds.cap_effective, "KILL"))`)
	f.Add(`exec.args.map(a, a.size()).exists(n, n > 3) || exit.cpu_ns > duration("1s")`)
	c, ev := compiler(f), sample()
	f.Fuzz(func(t *testing.T, text string) {
		fl, err := c.Compile(text)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\x1b\x00\r") {
				t.Fatalf("raw control characters in %q", err.Error())
			}
			return
		}
		_, _ = fl.Match(ev)
	})
}

func BenchmarkMatch(b *testing.B) {
	f, err := compiler(b).Compile(`kind == "exec" && process.exe.startsWith("/usr/") && process.creds.uid == 0`)
	if err != nil {
		b.Fatal(err)
	}
	ev := sample()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Match(ev); err != nil {
			b.Fatal(err)
		}
	}
}
