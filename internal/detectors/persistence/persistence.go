// Package persistence finds changes of the files by which somebody who broke
// in comes back or stays privileged: authorized_keys, cron tables, sudoers,
// ld.so.preload, the account files, systemd units, start-up scripts, shell
// profiles, PAM and udev rules.
//
// Package managers and what they run, and the tool made for a file (passwd,
// crontab, visudo, systemctl, ...) are let pass, when they run from files that
// only root may change. A network server or what it started makes a finding
// critical; a person who logged in lowers it by one step, an act that the
// kernel refused too. In a container the files are the container's own, not
// the host's: one step lower, and the reason says so.
//
// Known false alarms: configuration management (Ansible, Puppet, Chef, Salt),
// installers that are no packages (rustup, nvm and conda write shell
// profiles), administrators with an editor, and image builds.
//
// Not found: what a package or one of the tools does on somebody's behalf
// (`dpkg -i evil.deb`, `crontab evil`); the host's files reached from a
// container by another path (/host/etc/cron.d); a write to a file that was
// opened before Merlon started, where the kernel does not tell of closing; a
// directory moved into place that holds such files deeper within (a whole home,
// .config, /usr/lib);
// files that these files include from elsewhere; home directories other than
// /root and those below /home, /var/lib, /var/www, /srv and /opt (shell
// profiles only: authorized_keys counts everywhere).
package persistence

import (
	"strconv"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/origin"
	"github.com/merlon/merlon/internal/match/program"
)

const (
	eperm  = -1 // errno.h
	eacces = -13
	erofs  = -30
)

// Detector implements contract.Detector.
type Detector struct{}

// New returns a Detector.
func New() *Detector { return &Detector{} }

// Name returns "persistence".
func (*Detector) Name() string { return "persistence" }

// Rules returns one rule for each family of files.
func (*Detector) Rules() []event.Rule {
	list := make([]event.Rule, len(families))
	for i := range families {
		list[i] = families[i].rule
	}
	return list
}

// Needs returns the acts that change a file or put another in its place.
func (*Detector) Needs() []event.Kind {
	return []event.Kind{event.KindFileCreate, event.KindFileOpen, event.KindFileClose, event.KindFileRename,
		event.KindFileLink, event.KindFileSymlink, event.KindFileChmod, event.KindFileTruncate}
}

// Detect looks at one act.
func (*Detector) Detect(ev *event.Event, found func(event.Finding)) {
	f := ev.File
	if f == nil {
		return
	}
	path, field := f.Path, "file.path"
	if ev.Kind == event.KindFileRename || ev.Kind == event.KindFileLink {
		path, field = f.NewPath, "file.new_path"
	}
	what := familyOf(string(path))
	if what == none && placesDir(ev) {
		what = familyOfDir(string(path))
	}
	if what == none || !counts(ev) {
		return
	}
	fam := &families[what]
	if p := ev.Process; p != nil && (fam.tools.Has(p) || fam.service != nil && fam.service[origin.Service(p)] || origin.Installer(p) != nil) {
		return
	}
	found(finding(ev, fam, path, field))
}

// placesDir reports whether the act may put a directory with its files in the
// place of another.
func placesDir(ev *event.Event) bool {
	return ev.Kind == event.KindFileSymlink || ev.Kind == event.KindFileRename && (ev.File.Type == "dir" || ev.File.Type == "symlink")
}

// counts reports whether the act changes a file, or tried to and was refused.
func counts(ev *event.Event) bool {
	f := ev.File
	if ev.Kind == event.KindFileOpen && !f.Write {
		return false
	}
	if f.Type == "dir" && ev.Kind != event.KindFileRename {
		return false
	}
	if ev.Kind == event.KindFileChmod && f.Partial && f.Mode == f.OldMode {
		return false // fanotify told of some attribute; which one is a guess
	}
	switch f.Result {
	case 0, eperm, eacces, erofs:
		return true
	}
	return f.Result > 0
}

var verbs = map[event.Kind]string{
	event.KindFileCreate: "made", event.KindFileOpen: "opened for writing", event.KindFileClose: "wrote",
	event.KindFileRename: "put a file in place of", event.KindFileLink: "linked a file to", event.KindFileSymlink: "made the symbolic link",
	event.KindFileChmod: "changed the mode of", event.KindFileTruncate: "truncated",
}

func finding(ev *event.Event, fam *family, path event.Text, field string) event.Finding {
	p, file := ev.Process, ev.File
	f := event.Finding{Rule: fam.rule, Time: ev.Time, Event: ev.Clone(), Evidence: []event.Evidence{{Field: field, Value: path, Source: "kernel"}}}
	if field == "file.new_path" {
		f.Evidence = append(f.Evidence, event.Evidence{Field: "file.path", Value: file.Path, Source: "kernel"})
	}
	if ev.Kind == event.KindFileSymlink && file.Link != "" {
		f.Evidence = append(f.Evidence, event.Evidence{Field: "file.link", Value: file.Link, Source: "kernel"})
	}
	if file.Partial {
		f.Evidence = append(f.Evidence, event.Evidence{Field: "file.partial", Value: "true", Source: "merlon"})
	}
	name := program.Describe(p)
	if p == nil && ev.Thread.PID != 0 {
		name = event.Safe(string(ev.Thread.Comm)) + " (pid " + strconv.FormatUint(uint64(ev.Thread.PID), 10) + ")"
	}
	verb := verbs[ev.Kind]
	if ev.Kind == event.KindFileRename && file.Type == "dir" {
		verb = "moved a directory to"
	}
	if file.Result < 0 {
		verb = "was refused what would have " + verb
		f.Rule.Severity = origin.Lower(f.Rule.Severity)
		f.Evidence = append(f.Evidence, event.Evidence{Field: "file.result", Value: event.Text(strconv.Itoa(file.Result)), Source: "kernel"})
	}
	f.Reason = name + " " + verb + " " + event.Safe(string(path)) + ", " + fam.is
	if p == nil {
		return f
	}
	f.Evidence = append(f.Evidence, event.Evidence{Field: "process.exe", Value: p.Exe, Source: "kernel"})
	switch server := origin.Server(p); {
	case server != nil:
		if file.Result >= 0 {
			f.Rule.Severity = event.SeverityCritical
		}
		f.Reason += "; behind it is " + program.Describe(server)
	case origin.Person(p):
		f.Rule.Severity = origin.Lower(f.Rule.Severity)
	}
	if p.Container != nil {
		f.Rule.Severity = origin.Lower(f.Rule.Severity)
		f.Reason += " (of the container, not of the host)"
	}
	return f
}
