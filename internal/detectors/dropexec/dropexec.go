// Package dropexec finds services and containers that run a file which the
// same service or container wrote at most ten minutes before: how a first
// foothold fetches its tools.
//
// The two are tied by device and inode where the kernel's hooks tell them,
// else by path; scripts by their path. People are left alone: what somebody
// builds and runs in a login session is his own business. Let pass is what
// package managers and what they run, compilers and linkers, and container
// runtimes write. What git, tar, npm and the like unpack is low, because
// services are deployed that way. A web or database server that wrote the file
// or runs it is high. Otherwise it is medium.
//
// Known false alarms: build agents (Jenkins, GitLab runner), services that
// update themselves or unpack helpers (agents written in Go, Electron and
// Python bundles), entry points of containers that write a script and run it.
//
// Not found: a file that one service writes and another runs; what is read
// from a file and not executed (`sh x`, `python x`, a library); a file run
// later than ten minutes after the write, or after 16,000 other files were
// written in services and containers since; a script run by a relative path
// with more than a leading "./".
//
// Where fanotify tells of files, its news come a moment late, often after the
// exec: the last 32 programs that services and containers ran are compared
// with what is told within a second, too.
package dropexec

import (
	"hash/maphash"
	"strconv"
	"strings"
	"time"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/origin"
	"github.com/merlon/merlon/internal/match/program"
)

var rule = event.Rule{
	ID:       "drop-exec",
	Title:    "A service or container runs a file that it wrote itself",
	Severity: event.SeverityMedium,
	Attack:   []string{"T1105", "T1059"},
}

const ttl = uint64(10 * time.Minute) // nanoseconds

// builders write programs by design. Read-only.
var builders = origin.NewNames("as", "ld", "ld.bfd", "ld.gold", "ld.lld", "lld", "mold", "gold", "collect2", "lto1", "cc1", "gcc", "g++", "cc", "c++",
	"clang", "clang++", "rustc", "cargo", "go", "link", "compile", "asm", "cgo", "ghc", "ocamlopt", "strip", "objcopy", "patchelf",
	"runc", "crun", "youki", "dockerd", "containerd", "containerd-shim-runc-v2", "podman", "buildkitd", "crio", "conmon", "lxc-start",
	"systemd", "systemd-executor")

// deployers unpack what others built. Read-only.
var deployers = origin.NewNames("git", "git-remote-https", "tar", "unzip", "rsync", "npm", "node", "yarn", "pnpm", "pip", "pip3", "bundle", "gem", "composer",
	"cargo-install", "unattended-upgrade", "skopeo", "bsdtar", "cpio")

// Detector implements contract.Detector.
type Detector struct {
	seed    maphash.Seed
	files   memory
	writers [256]writer // by pid
	late    recents     // used once fanotify tells of files
}

// writer is what was worked out of a process that writes.
type writer struct {
	p     *event.Process
	scope uint64 // 0: what it writes does not count
	entry entry  // what is alike in all its entries
}

// New returns a Detector. It holds about a megabyte.
func New() *Detector { return &Detector{seed: maphash.MakeSeed(), files: newMemory()} }

// Name returns "dropexec".
func (*Detector) Name() string { return "dropexec" }

// Rules returns its one rule.
func (*Detector) Rules() []event.Rule { return []event.Rule{rule} }

// Needs returns exec, and the acts by which a file gets its contents or a
// name.
func (*Detector) Needs() []event.Kind {
	return []event.Kind{event.KindExec, event.KindFileCreate, event.KindFileOpen, event.KindFileClose, event.KindFileRename, event.KindFileLink}
}

// Detect looks at one act.
func (d *Detector) Detect(ev *event.Event, found func(event.Finding)) {
	p := ev.Process
	switch {
	case p == nil:
	case ev.Exec != nil:
		d.exec(ev, found)
	case ev.File != nil:
		d.file(ev, found)
	}
}

// file remembers what was written.
func (d *Detector) file(ev *event.Event, found func(event.Finding)) {
	f := ev.File
	d.late.on = d.late.on || f.Merged
	w := d.writer(ev.Process)
	if w.scope == 0 || f.Result < 0 || f.Memfd || f.Type != "" && f.Type != "file" {
		return
	}
	inode, path := inodeKey(w.scope, f.Dev, f.Inode), d.pathKey(w.scope, "", f.Path)
	switch ev.Kind {
	case event.KindFileCreate, event.KindFileOpen, event.KindFileClose:
		if ev.Kind == event.KindFileOpen && !f.Write {
			return
		}
		d.files.put(inode, &w.entry, ev.Boot)
		d.files.put(path, &w.entry, ev.Boot)
		if f.Merged {
			if ran := d.late.take(inode, path, ev.Boot); ran != nil {
				d.exec(ran, found)
			}
		}
	case event.KindFileRename, event.KindFileLink: // the new name of what was written
		old := d.files.get(path)
		if old == nil {
			old = d.files.get(inode)
		}
		if old != nil {
			e := *old
			d.files.put(d.pathKey(w.scope, "", f.NewPath), &e, e.boot)
		}
	}
}

// writer works out once for each process whether what it writes counts.
func (d *Detector) writer(p *event.Process) *writer {
	w := &d.writers[p.PID%uint32(len(d.writers))]
	if w.p == p {
		return w
	}
	*w = writer{p: p, scope: d.scope(p), entry: entry{pid: p.PID}}
	if w.scope == 0 {
		return w
	}
	switch {
	case builders.Has(p) || builders[native(origin.Tool(p))] || origin.Installer(p) != nil:
		w.scope = 0
	case origin.Server(p) != nil:
		w.entry.flags = byServer
	case deployers.Has(p):
		w.entry.flags = byDeployer
	}
	name(&w.entry, p)
	return w
}

// native returns a compiler's name without the machine it compiles for:
// "x86_64-linux-gnu-ld.bfd" is ld.bfd.
func native(name string) string {
	if _, rest, ok := strings.Cut(name, "-linux-"); ok {
		_, tool, _ := strings.Cut(rest, "-")
		return tool
	}
	return name
}

// scope is a number for the service or container that p belongs to, 0 for none.
func (d *Detector) scope(p *event.Process) uint64 {
	name := ""
	if p.Container != nil {
		name = p.Container.ID
	} else if name = origin.Service(p); name == "" {
		return 0
	}
	return maphash.String(d.seed, name) | 1
}

// exec looks the program, and its script, up in what was written.
func (d *Detector) exec(ev *event.Event, found func(event.Finding)) {
	p := ev.Process
	scope := d.scope(p)
	if scope == 0 {
		return
	}
	path, field := p.Exe, "process.exe"
	var e *entry
	var keys [3]uint64 // of the inode, the path, the script's path
	if f := p.File; f != nil && !f.Memfd {
		keys[0] = inodeKey(scope, f.Dev, f.Inode)
		e = d.files.get(keys[0])
	}
	keys[1] = d.pathKey(scope, "", p.Exe)
	if e == nil {
		e = d.files.get(keys[1])
	}
	if e == nil && ev.Exec.Script != "" {
		path, field = ev.Exec.Script, "exec.script"
		dir := p.CWD
		if path[0] == '/' {
			dir = ""
		}
		keys[2] = d.pathKey(scope, dir, event.Text(strings.TrimPrefix(string(path), "./")))
		e = d.files.get(keys[2])
	}
	if e == nil && d.late.on {
		d.late.put(keys, ev)
	}
	if e == nil || ev.Boot > e.boot+ttl || origin.Installer(p) != nil {
		return
	}
	found(finding(ev, e, path, field))
}

func finding(ev *event.Event, e *entry, path event.Text, field string) event.Finding {
	p := ev.Process
	age := time.Duration(0)
	if ev.Boot > e.boot {
		age = time.Duration(ev.Boot - e.boot)
	}
	f := event.Finding{Rule: rule, Time: ev.Time, Event: ev.Clone(), Evidence: []event.Evidence{
		{Field: field, Value: path, Source: "kernel"},
		{Field: "file.written_by", Value: event.Text(e.writer()) + " " + event.Text(strconv.FormatUint(uint64(e.pid), 10)), Source: "merlon"},
	}}
	where := "service"
	if p.Container != nil {
		where = "container"
	}
	when := age.Round(time.Millisecond).String() + " before"
	if ev.Boot <= e.boot {
		when = "just before"
	}
	f.Reason = program.Describe(p) + " runs " + event.Safe(string(path)) + ", which the same " + where + " wrote " + when + " (" + event.Safe(e.writer()) + ", pid " + strconv.FormatUint(uint64(e.pid), 10) + ")"
	switch server := origin.Server(p); {
	case server != nil:
		f.Rule.Severity = event.SeverityHigh
		f.Reason += "; behind it is " + program.Describe(server)
	case e.flags&byServer != 0:
		f.Rule.Severity = event.SeverityHigh
	case e.flags&byDeployer != 0:
		f.Rule.Severity = event.SeverityLow
	}
	return f
}

// inodeKey and pathKey return 0 when there is nothing to go by.
func inodeKey(scope, dev, inode uint64) uint64 {
	if inode == 0 {
		return 0
	}
	return mix(mix(scope^dev)^inode) | 1
}

func (d *Detector) pathKey(scope uint64, dir, path event.Text) uint64 {
	if path == "" {
		return 0
	}
	if dir == "" {
		return mix(scope^maphash.String(d.seed, string(path))) | 1
	}
	var h maphash.Hash
	h.SetSeed(d.seed)
	h.WriteString(string(dir))
	if dir != "/" {
		h.WriteByte('/')
	}
	h.WriteString(string(path))
	return mix(scope^h.Sum64()) | 1
}

// mix spreads the bits of x (the finalizer of MurmurHash3).
func mix(x uint64) uint64 {
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
