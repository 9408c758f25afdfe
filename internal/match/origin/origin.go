// Package origin says who is behind a process: a package manager, a service, a
// person, a container, a network server, the kernel itself. Detectors use it
// to tell the software that may do a thing from the rest.
//
// A name alone proves nothing: a program counts as known only when it runs
// from a file that root owns and nobody else may write, and when it is in the
// same container as the process asked about. Who is root may still run his own
// code under such a name, or make a package of it; no rule that trusts names
// sees that.
//
// Nothing here allocates or asks the kernel.
package origin

import (
	"strings"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/program"
)

// maxLevels bounds every walk to ancestors.
const maxLevels = 16

const (
	kthreadd = 2          // the parent of what the kernel starts by itself (kernel/umh.c)
	unset    = ^uint32(0) // login uid of what no login started
	people   = 1000       // login.defs(5): UID_MIN
	nobody   = 65534
)

// Trusted reports whether only root may change the file that p runs. A file
// in memory is not one.
func Trusted(p *event.Process) bool {
	f := p.File
	return f != nil && f.UID == 0 && f.Mode&0o022 == 0 && !f.Memfd
}

// Tool returns the name of the trusted program that p runs, "" for any other.
// For an interpreter it is the name of the script in the system's directories
// that it was started with; that name is the word of who started it.
func Tool(p *event.Process) string {
	if p == nil || p.Exe == "" || !Trusted(p) {
		return ""
	}
	if a := script(p.Args); a != "" && (program.Interpreter(p) || program.Shell(p)) {
		return program.Base(a)
	}
	return program.Of(p)
}

// script returns the first argument that is not an option, when it lies where
// only packages put programs.
func script(args []event.Text) event.Text {
	for i := 1; i < len(args); i++ {
		if a := args[i]; a == "" || a[0] != '-' {
			if system(a) {
				return a
			}
			break
		}
	}
	return ""
}

// system reports whether path lies where only packages put programs.
func system(path event.Text) bool {
	s := string(path)
	return (strings.HasPrefix(s, "/usr/") && !strings.HasPrefix(s, "/usr/local/") || strings.HasPrefix(s, "/bin/") ||
		strings.HasPrefix(s, "/sbin/") || strings.HasPrefix(s, "/lib/")) && !strings.Contains(s, "/../")
}

var installers = set("dpkg", "apt", "apt-get", "aptitude", "unattended-upgrade", "unattended-upgrades", "apt-key", "debconf",
	"rpm", "dnf", "yum", "microdnf", "zypper", "packagekitd", "rpm-ostree", "apk", "pacman", "xbps-install", "emerge",
	"opkg", "swupd", "snapd", "flatpak", "nix-daemon", "nix-store", "guix-daemon", "dkms", "debootstrap", "transactional-update")

// Installer returns the package manager that p is or works for, nil when there
// is none. A daemon that it started in a session of its own works for itself.
func Installer(p *event.Process) *event.Process { return Ancestor(p, installers) }

// Ancestor returns the nearest of p and its ancestors that runs a trusted
// program of one of those names, in p's container and, but for p itself, in
// p's session.
func Ancestor(p *event.Process, names Names) *event.Process {
	level := 0
	for a := p; a != nil && level < maxLevels; a = a.Parent {
		if a.SID != 0 && p.SID != 0 && a.SID != p.SID || !sameContainer(a, p) {
			return nil
		}
		if names.Has(a) {
			return a
		}
		level++
	}
	return nil
}

// Server returns the web or database server that p is or descends from, nil
// when there is none.
func Server(p *event.Process) *event.Process {
	level := 0
	for a := p; a != nil && level < maxLevels; a = a.Parent {
		if program.ServerOf(a) != program.None {
			return a
		}
		level++
	}
	return nil
}

// Kernel reports whether the kernel itself started p, to load a module for
// instance.
func Kernel(p *event.Process) bool { return p.PPID == kthreadd }

// Service returns the name of the system's service that p belongs to, "" when
// it belongs to none or somebody logged in to start it.
func Service(p *event.Process) string {
	if p.LoginUID != unset || p.Container != nil || !strings.HasSuffix(p.Service, ".service") ||
		strings.HasPrefix(p.Service, "user@") || !strings.HasPrefix(p.Slice, "system") {
		return ""
	}
	return p.Service
}

// Person reports whether somebody who logged in, or sits at a terminal, is
// behind p.
func Person(p *event.Process) bool {
	return p.Container == nil && (p.LoginUID != unset || p.TTY != "") && Server(p) == nil
}

// Account reports whether uid is of a service and not of a person.
func Account(uid uint32) bool { return uid > 0 && uid < people || uid == nobody }

func sameContainer(a, b *event.Process) bool {
	if a.Container == nil || b.Container == nil {
		return a.Container == nil && b.Container == nil
	}
	return a.Container.ID == b.Container.ID
}

// Names is a set of names of programs.
type Names map[string]bool

func set(names ...string) Names { return NewNames(names...) }

// NewNames returns a set of names.
func NewNames(names ...string) Names {
	m := make(Names, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// Has reports whether p runs a trusted program of one of the names.
func (n Names) Has(p *event.Process) bool {
	name := Tool(p)
	return name != "" && (n[name] || n[program.Base(p.Exe)]) // update-rc.d: the end belongs to the name
}

// Lower returns the severity one step below s.
func Lower(s event.Severity) event.Severity {
	switch s {
	case event.SeverityCritical:
		return event.SeverityHigh
	case event.SeverityHigh:
		return event.SeverityMedium
	}
	return event.SeverityLow
}
