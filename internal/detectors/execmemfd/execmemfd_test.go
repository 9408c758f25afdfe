package execmemfd

import (
	"testing"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/detectors/detectest"
	"github.com/merlon/merlon/internal/event"
)

var _ contract.Detector = (*Detector)(nil)

func run(f event.File, was *event.Process) *event.Event {
	return &event.Event{Kind: event.KindExec, Was: was, Exec: &event.Exec{Filename: "/proc/self/fd/3"},
		Process: &event.Process{PID: 9, Exe: f.Path, File: &f}}
}

func ran(exe event.Text, f event.File) *event.Process { return &event.Process{Exe: exe, File: &f} }

func TestDetect(t *testing.T) {
	runc := event.File{Path: "memfd:runc_cloned:/proc/self/exe", Memfd: true, Deleted: true}
	system := event.File{Mode: 0o100755, FS: "ext4"}
	container := ran("/usr/bin/runc", system)
	container.Container = &event.Container{ID: "x"}
	const memfd = "exec-memfd critical"
	detectest.Table(t, New, []detectest.Case{
		{"memfd", run(event.File{Path: "memfd:x", Memfd: true, Deleted: true}, ran("/usr/bin/python3", system)), memfd},
		{"memfd, nothing known before", run(runc, nil), memfd},
		{"name of runc's copy, by another", run(runc, ran("/usr/bin/python3", system)), memfd},
		{"runc of a user", run(runc, ran("/home/u/runc", event.File{Mode: 0o100755, UID: 1000})), memfd},
		{"runc that a group may write", run(runc, ran("/srv/runc", event.File{Mode: 0o100775})), memfd},
		{"runc from an image", run(runc, ran("/usr/bin/runc", event.File{Mode: 0o100755, FS: "overlay"})), memfd},
		{"runc in a container", run(runc, container), memfd},
		{"runc that is itself a memfd", run(runc, ran("runc", event.File{Mode: 0o100755, Memfd: true})), memfd},
		{"deleted in /tmp", run(event.File{Path: "/tmp/x", Deleted: true, Mode: 0o100755}, nil), "exec-deleted high"},
		{"deleted in /usr, of a user", run(event.File{Path: "/usr/x", Deleted: true, UID: 5, Mode: 0o100755}, nil), "exec-deleted high"},
		{"deleted in a tmpfs on /opt", run(event.File{Path: "/opt/x", Deleted: true, FS: "tmpfs", Mode: 0o100755}, nil), "exec-deleted high"},
		{"path not whole", run(event.File{Path: "/usr/x", Unresolved: "too_deep", Deleted: true, Mode: 0o100755}, nil), "exec-deleted high"},
		{"upgraded", run(event.File{Path: "/usr/lib/systemd/systemd-executor", Deleted: true, Mode: 0o100755}, nil), "exec-deleted low"},

		{"runc's own copy", run(runc, ran("/usr/bin/runc", system)), ""},
		{"crun's own copy", run(event.File{Path: "memfd:crun", Memfd: true}, ran("/usr/local/bin/crun", system)), ""},
		{"a file", run(event.File{Path: "/bin/ls", Mode: 0o100755}, nil), ""},
		{"no file", &event.Event{Kind: event.KindExec, Exec: &event.Exec{}, Process: &event.Process{}}, ""},
	})
}

func TestMissAllocatesNothing(t *testing.T) {
	detectest.MissAllocatesNothing(t, New(), run(event.File{Path: "/bin/ls", Mode: 0o100755}, nil),
		run(event.File{Path: "memfd:x", Memfd: true}, ran("/usr/bin/runc", event.File{Mode: 0o100755})))
}

func BenchmarkMiss(b *testing.B) {
	detectest.Benchmark(b, New(), run(event.File{Path: "/bin/ls", Mode: 0o100755}, nil))
}
