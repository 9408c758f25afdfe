package app

import (
	"os"
	"testing"

	"github.com/merlon/merlon/internal/event"
)

// Merlon knows itself by its file, whatever others call theirs.
func TestOwnBinary(t *testing.T) {
	own := ownBinary()
	path, err := os.Executable()
	if err != nil || string(own.path) != path || own.inode == 0 || own.mnt == 0 {
		t.Fatalf("own binary %+v, want %s (%v)", own, path, err)
	}
	merlon := func(change func(*event.Process)) *event.Process {
		p := &event.Process{Exe: own.path, NS: event.Namespaces{Mnt: own.mnt}, File: &event.File{Inode: own.inode}}
		change(p)
		return p
	}
	same := func(*event.Process) {}
	child := func(parent *event.Process, exe event.Text) *event.Process {
		return &event.Process{Parent: parent, Exe: exe}
	}
	for _, c := range []struct {
		name         string
		p            *event.Process
		runs, canary bool
	}{
		{"the agent, or a check beside it", merlon(same), true, false},
		{"another file of that name", merlon(func(p *event.Process) { p.File = &event.File{Inode: own.inode + 1} }), false, false},
		{"that name elsewhere", merlon(func(p *event.Process) { p.NS.Mnt++ }), false, false},
		{"another name", merlon(func(p *event.Process) { p.Exe = "/tmp/merlon" }), false, false},
		{"nothing known of the file", merlon(func(p *event.Process) { p.File = nil }), false, false},
		{"a canary of our binary", merlon(func(p *event.Process) { p.Parent = merlon(same) }), true, true},
		{"a canary of its own file", child(merlon(same), "/tmp/merlon-canary-7-123/child"), false, true},
		{"somebody else's child", child(&event.Process{Exe: "/bin/sh"}, "/tmp/merlon-canary-7-123/child"), false, false},
		{"another child of ours", child(merlon(same), "/tmp/child"), false, false},
		{"no process", nil, false, false},
	} {
		if own.runs(c.p) != c.runs || own.canary(c.p) != c.canary {
			t.Errorf("%s: runs %v, canary %v", c.name, own.runs(c.p), own.canary(c.p))
		}
	}
}
