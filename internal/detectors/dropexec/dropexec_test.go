package dropexec

import (
	"fmt"
	"strings"
	"testing"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/detectors/detectest"
	"github.com/merlon/merlon/internal/event"
)

var _ contract.Detector = (*Detector)(nil)

const unset = ^uint32(0)

var pids uint32

// proc is a new process of a service.
func proc(exe event.Text) *event.Process {
	pids++
	return &event.Process{PID: pids, Exe: exe, LoginUID: unset, Service: "web.service", Slice: "system.slice", File: &event.File{Mode: 0o100755}}
}

func with(p *event.Process, f func(*event.Process)) *event.Process {
	f(p)
	return p
}

func child(p *event.Process, of event.Text) *event.Process {
	p.Parent = proc(of)
	return p
}

func person(p *event.Process) *event.Process {
	p.LoginUID, p.Service, p.Slice = 1000, "session-1.scope", "user-1000.slice"
	return p
}

func boxed(id string, p *event.Process) *event.Process {
	for a := p; a != nil; a = a.Parent {
		a.Container = &event.Container{ID: id}
	}
	return p
}

func file(kind event.Kind, boot uint64, p *event.Process, path event.Text, inode uint64) *event.Event {
	return &event.Event{Kind: kind, Boot: boot, Process: p, File: &event.FileAct{Path: path, Dev: 7, Inode: inode, Type: "file", Write: true}}
}

func run(boot uint64, p *event.Process, inode uint64) *event.Event {
	p.File = &event.File{Path: p.Exe, Dev: 7, Inode: inode, Mode: 0o100755}
	return &event.Event{Kind: event.KindExec, Boot: boot, Process: p, Exec: &event.Exec{Filename: p.Exe}}
}

func TestDetect(t *testing.T) {
	const open, closed = event.KindFileOpen, event.KindFileClose
	const hit = "drop-exec medium"
	rename := func(p *event.Process, from, to event.Text, inode uint64) *event.Event {
		ev := file(event.KindFileRename, 3e9, p, from, inode)
		ev.File.NewPath = to
		return ev
	}
	script := func(p *event.Process, path, cwd event.Text) *event.Event {
		ev := run(5e9, p, 99)
		ev.Exec.Script, p.CWD = path, cwd
		return ev
	}
	change := func(ev *event.Event, f func(*event.Event)) *event.Event {
		f(ev)
		return ev
	}
	for _, c := range []struct {
		name string
		want string
		evs  []*event.Event
	}{
		{"by inode", hit, []*event.Event{file(closed, 2e9, proc("/usr/bin/curl"), "/tmp/x", 42), run(3e9, proc("/tmp/elsewhere"), 42)}},
		{"opened only", hit, []*event.Event{file(open, 2e9, proc("/usr/bin/curl"), "/tmp/x", 42), run(3e9, proc("/tmp/x"), 42)}},
		{"made", hit, []*event.Event{file(event.KindFileCreate, 2e9, proc("/usr/bin/curl"), "/tmp/x", 42), run(3e9, proc("/tmp/x"), 42)}},
		{"a directory made", "", []*event.Event{change(file(event.KindFileCreate, 2e9, proc("/bin/mkdir"), "/tmp/x", 42), func(ev *event.Event) { ev.File.Type = "dir" }), run(3e9, proc("/tmp/x"), 42)}},
		{"by path, as fanotify tells it", hit, []*event.Event{file(closed, 2e9, proc("/usr/bin/curl"), "/tmp/x", 0), run(3e9, proc("/tmp/x"), 42)}},
		{"by path, told late", hit, []*event.Event{file(closed, 4e9, proc("/usr/bin/curl"), "/tmp/x", 0), run(3e9, proc("/tmp/x"), 42)}},
		{"renamed, by path", hit, []*event.Event{file(closed, 2e9, proc("/usr/bin/curl"), "/tmp/x", 0), rename(proc("/bin/mv"), "/tmp/x", "/tmp/y", 0), run(5e9, proc("/tmp/y"), 0)}},
		{"a script", hit, []*event.Event{file(closed, 2e9, proc("/usr/bin/curl"), "/tmp/x.sh", 42), script(proc("/bin/sh"), "/tmp/x.sh", "/")}},
		{"a script, by relative path", hit, []*event.Event{file(closed, 2e9, proc("/usr/bin/curl"), "/tmp/x.sh", 42), script(proc("/bin/sh"), "./x.sh", "/tmp")}},
		{"a container", hit, []*event.Event{file(closed, 2e9, boxed("a", proc("/usr/bin/curl")), "/x", 42), run(3e9, boxed("a", proc("/x")), 42)}},
		{"a server wrote it", "drop-exec high", []*event.Event{file(closed, 2e9, proc("/usr/sbin/nginx"), "/x", 42), run(3e9, proc("/x"), 42)}},
		{"a server runs it", "drop-exec high", []*event.Event{file(closed, 2e9, proc("/usr/bin/curl"), "/x", 42), run(3e9, child(proc("/x"), "/usr/sbin/nginx"), 42)}},
		{"git", "drop-exec low", []*event.Event{file(closed, 2e9, proc("/usr/bin/git"), "/x", 42), run(3e9, proc("/x"), 42)}},
		{"a user's compiler", hit, []*event.Event{file(closed, 2e9, with(proc("/home/u/ld"), func(p *event.Process) { p.File.UID = 5 }), "/x", 42), run(3e9, proc("/x"), 42)}},

		{"nothing written", "", []*event.Event{run(3e9, proc("/tmp/x"), 42)}},
		{"read", "", []*event.Event{change(file(open, 2e9, proc("/bin/cat"), "/x", 42), func(ev *event.Event) { ev.File.Write = false }), run(3e9, proc("/x"), 42)}},
		{"refused", "", []*event.Event{change(file(open, 2e9, proc("/bin/sh"), "/x", 42), func(ev *event.Event) { ev.File.Result = -13 }), run(3e9, proc("/x"), 42)}},
		{"another file", "", []*event.Event{file(closed, 2e9, proc("/bin/sh"), "/x", 42), run(3e9, proc("/y"), 43)}},
		{"too late", "", []*event.Event{file(closed, 2e9, proc("/bin/sh"), "/x", 42), run(603e9, proc("/x"), 42)}},
		{"another service", "", []*event.Event{file(closed, 2e9, with(proc("/bin/sh"), func(p *event.Process) { p.Service = "b.service" }), "/x", 42), run(3e9, proc("/x"), 42)}},
		{"another container", "", []*event.Event{file(closed, 2e9, boxed("a", proc("/bin/sh")), "/x", 42), run(3e9, boxed("b", proc("/x")), 42)}},
		{"go build by a person", "", []*event.Event{file(closed, 2e9, person(proc("/usr/local/go/pkg/tool/linux_amd64/link")), "/home/u/x", 42), run(3e9, person(proc("/home/u/x")), 42)}},
		{"curl by a person", "", []*event.Event{file(closed, 2e9, person(proc("/usr/bin/curl")), "/home/u/x", 42), run(3e9, person(proc("/home/u/x")), 42)}},
		{"a linker in a container", "", []*event.Event{file(closed, 2e9, boxed("a", proc("/usr/bin/ld")), "/x", 42), run(3e9, boxed("a", proc("/x")), 42)}},
		{"Debian's linker", "", []*event.Event{file(closed, 2e9, proc("/usr/bin/x86_64-linux-gnu-ld.bfd"), "/x", 42), run(3e9, proc("/x"), 42)}},
		{"dpkg", "", []*event.Event{file(closed, 2e9, proc("/usr/bin/dpkg"), "/usr/bin/x", 42), run(3e9, child(proc("/usr/bin/x"), "/usr/bin/dpkg"), 42)}},
		{"apt-get in a container", "", []*event.Event{file(closed, 2e9, boxed("a", child(proc("/usr/bin/dpkg"), "/usr/bin/apt-get")), "/usr/bin/x", 42), run(3e9, boxed("a", proc("/usr/bin/x")), 42)}},
		{"run by a script of dpkg", "", []*event.Event{file(closed, 2e9, proc("/bin/sh"), "/x", 42), run(3e9, child(proc("/x"), "/usr/bin/dpkg"), 42)}},
		{"runc's copy of itself", "", []*event.Event{file(closed, 2e9, proc("/usr/bin/runc"), "/x", 42), run(3e9, proc("/x"), 42)}},
	} {
		d := New()
		got := ""
		for _, ev := range c.evs {
			got += detectest.Detect(t, d, ev)
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// What fanotify tells may come after the exec.
func TestLateNews(t *testing.T) {
	d := New()
	told := func(boot uint64, path event.Text) string {
		ev := file(event.KindFileClose, boot, proc("/usr/bin/curl"), path, 0)
		ev.File.Merged = true
		got := ""
		d.Detect(ev, func(f event.Finding) {
			got += f.Rule.ID + " " + string(f.Event.Process.Exe)
			if !strings.Contains(f.Reason, "just before") {
				t.Error(f.Reason)
			}
		})
		return got
	}
	person := file(event.KindFileClose, 1e9, person(proc("/bin/vi")), "/other", 0) // anybody's news will do
	person.File.Merged = true
	d.Detect(person, nil)
	if got := detectest.Detect(t, d, run(3e9, proc("/tmp/x"), 42)); got != "" {
		t.Errorf("before the news: %q", got)
	}
	if got := told(3.1e9, "/tmp/x"); got != "drop-exec /tmp/x" {
		t.Errorf("after the news: %q", got)
	}
	if got := told(3.2e9, "/tmp/x"); got != "" {
		t.Errorf("told again: %q", got)
	}
	detectest.Detect(t, d, run(5e9, proc("/tmp/y"), 43))
	if got := told(7e9, "/tmp/y"); got != "" {
		t.Errorf("two seconds later: %q", got)
	}
}

func TestReasonNamesTheWriter(t *testing.T) {
	d := New()
	d.Detect(file(event.KindFileClose, 2e9, proc("/opt/\x1b-a-name-that-is-longer-than-the-entry"), "/x", 42), nil)
	d.Detect(run(3e9, proc("/x"), 42), func(f event.Finding) {
		if !strings.Contains(f.Reason, `wrote 1s before (\x1b-a-name-that-is-lo`) || f.Reason != event.Safe(f.Reason) {
			t.Error(f.Reason)
		}
	})
}

// What is remembered is bounded, and the youngest stay.
func TestMemoryIsBounded(t *testing.T) {
	d, p := New(), proc("/usr/bin/curl")
	const n = 300_000
	for i := range uint64(n) {
		d.Detect(file(event.KindFileClose, i, p, "", i+1), nil)
	}
	held := 0
	for i := range d.files.table {
		for _, e := range d.files.table[i] {
			if e.key != 0 {
				held++
			}
		}
	}
	if held != sets*ways {
		t.Errorf("%d entries of %d", held, sets*ways)
	}
	lost := 0
	for i := uint64(n - 1000); i < n; i++ {
		if detectest.Detect(t, d, run(n, proc("/x"), i+1)) == "" {
			lost++
		}
	}
	if lost != 0 {
		t.Errorf("%d of the youngest 1000 are forgotten", lost)
	}
}

func misses() []*event.Event {
	log := file(event.KindFileOpen, 5, proc("/usr/sbin/rsyslogd"), "/var/log/syslog", 42)
	return []*event.Event{run(5, proc("/usr/bin/ls"), 43), log, file(event.KindFileClose, 5, person(proc("/bin/vi")), "/home/u/x", 44)}
}

func TestMissAllocatesNothing(t *testing.T) {
	script := run(5, proc("/bin/sh"), 43)
	script.Exec.Script, script.Process.CWD = "x/y", "/srv"
	detectest.MissAllocatesNothing(t, New(), append(misses(), script)...)
}

func BenchmarkMissExec(b *testing.B)   { detectest.Benchmark(b, New(), misses()[0]) }
func BenchmarkMissWrite(b *testing.B)  { detectest.Benchmark(b, New(), misses()[1]) }
func BenchmarkMissPerson(b *testing.B) { detectest.Benchmark(b, New(), misses()[2]) }

// Many processes in turn, so that what is known of a writer does not help.
func BenchmarkMissManyWriters(b *testing.B) {
	d := New()
	var evs []*event.Event
	for i := range 4096 {
		evs = append(evs, file(event.KindFileClose, 5, child(proc("/usr/sbin/x"), "/bin/sh"), event.Text(fmt.Sprint("/var/log/", i)), uint64(i+1)))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		d.Detect(evs[i%len(evs)], nil)
	}
}
