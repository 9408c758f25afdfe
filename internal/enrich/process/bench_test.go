package process

import (
	"testing"

	"github.com/merlon/merlon/internal/event"
)

// BenchmarkLife is one fork, exec and exit, and one lookup after each, in a
// tree of 5000 processes. The decoder's allocation of the Process is part of
// it.
func BenchmarkLife(b *testing.B) {
	tr := New(Options{})
	for i := range uint32(5000) {
		feed(tr, exec(1, none, event.Key{PID: 10 + i, Start: 1}, "/bin/d"))
	}
	args := []event.Text{"ls", "-l", "/tmp"}
	file := &event.File{Path: "/bin/ls", Inode: 7}
	var ev event.Event
	f, x, e := event.Fork{}, event.Exec{Args: args}, event.Exit{}
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		n++
		boot := n * 1000
		k := event.Key{PID: 10_000 + uint32(n%20_000), Start: boot}
		parent := event.Key{PID: 10 + uint32(n%5000), Start: 1}
		f.Creator = parent
		ev = event.Event{Kind: event.KindFork, Boot: boot, Fork: &f,
			Process: &event.Process{PID: k.PID, Start: k.Start, PPID: parent.PID, PStart: parent.Start, Comm: "sh"}}
		tr.Enrich(&ev)
		tr.Process(k)
		ev = event.Event{Kind: event.KindExec, Boot: boot + 1, Exec: &x,
			Process: &event.Process{PID: k.PID, Start: k.Start, PPID: parent.PID, PStart: parent.Start, Comm: "ls", Exe: "/bin/ls", File: file}}
		tr.Enrich(&ev)
		tr.Process(k)
		ev = event.Event{Kind: event.KindExit, Boot: boot + 2, Exit: &e, Process: &event.Process{PID: k.PID, Start: k.Start}}
		tr.Enrich(&ev)
		tr.Process(k)
	}
	b.ReportMetric(3*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkAttribute is an event of another kind: a lookup.
func BenchmarkAttribute(b *testing.B) {
	tr := New(Options{})
	for i := range uint32(5000) {
		feed(tr, exec(1, none, event.Key{PID: 10 + i, Start: 1}, "/bin/d"))
	}
	p := &event.Process{Start: 1}
	var ev event.Event
	b.ReportAllocs()
	for i := uint32(0); b.Loop(); i++ {
		p.PID = 10 + i%5000
		ev = event.Event{Kind: "file", Boot: 2, Process: p}
		tr.Enrich(&ev)
	}
}
