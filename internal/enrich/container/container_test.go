package container

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
)

var _ contract.Enricher = (*Enricher)(nil)

// host is a proc filesystem and two cgroup hierarchies made of plain files.
type host struct {
	t      *testing.T
	dir    string
	mounts []Mount
}

func newHost(t *testing.T) *host {
	h := &host{t: t, dir: t.TempDir()}
	h.write("proc/cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t3\t1\t1\nmemory\t4\t13\t1\npids\t0\t1\t1\n")
	h.write("proc/self/mountinfo", fmt.Sprintf(`24 1 0:5 / /proc rw - proc proc rw
31 23 0:28 / %[1]s/cg rw,relatime shared:3 - tmpfs tmpfs rw,mode=755
32 31 0:29 / %[1]s/cg/cpuset rw - cgroup cgroup rw,cpuset
40 31 0:40 /docker %[1]s/part rw - cgroup2 cgroup2 rw
35 31 0:32 / %[1]s/cg/memory rw - cgroup cgroup rw,memory
41 31 0:38 / %[1]s/cg/uni\040fied rw - cgroup2 cgroup2 rw
broken
`, h.dir))
	h.mkdir("/memory")
	h.mkdir("/uni fied")
	mounts, err := Mounts(filepath.Join(h.dir, "proc"))
	if err != nil {
		t.Fatal(err)
	}
	h.mounts = mounts[:2]
	if len(mounts) != 3 || mounts[0].Path != h.dir+"/cg/memory" || mounts[0].Hierarchy != 4 ||
		mounts[1].Path != h.dir+"/cg/uni fied" || mounts[2].Root != "/docker" {
		t.Fatalf("mounts %+v", mounts)
	}
	return h
}

func (h *host) write(name, text string) {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// mkdir makes a cgroup and returns its id.
func (h *host) mkdir(path string) uint64 {
	h.t.Helper()
	dir := filepath.Join(h.dir, "cg", path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		h.t.Fatal(err)
	}
	return inode(info)
}

func (h *host) enricher(limit int) *Enricher {
	return New(Options{Proc: filepath.Join(h.dir, "proc"), Limit: limit})
}

func enrich(e *Enricher, boot uint64, p event.Process) *event.Process {
	e.Enrich(&event.Event{Kind: event.KindExec, Boot: boot, Process: &p})
	return &p
}

func TestScan(t *testing.T) {
	h := newHost(t)
	web := h.mkdir("uni fied/system.slice/web.service")
	box := h.mkdir("memory/docker/" + id1)
	e := h.enricher(0)
	if err := e.Scan(context.Background(), h.mounts); err != nil {
		t.Fatal(err)
	}
	if p := enrich(e, 1, event.Process{CgroupID: web}); p.Service != "web.service" || p.Slice != "system.slice" ||
		p.Cgroup != "/system.slice/web.service" || p.Container != nil {
		t.Errorf("service: %+v", p)
	}
	if p := enrich(e, 1, event.Process{CgroupV1: box}); p.Container == nil || p.Container.ID != id1 {
		t.Errorf("container on v1: %+v", p)
	}
	if p := enrich(e, 1, event.Process{CgroupV1: box, CgroupID: web}); p.Container == nil {
		t.Error("of two hierarchies the one with the container is not taken")
	}
	root := h.mkdir("uni fied")
	if p := enrich(e, 1, event.Process{CgroupV1: box, CgroupID: root}); p.Container == nil || p.Cgroup != event.Text("/docker/"+id1) {
		t.Error("the root of v2 hides v1")
	}
	if s := e.Stats(); s.Lookups != 0 {
		t.Errorf("%d lookups of what the scan knows", s.Lookups)
	}
	if n, _ := e.Size(); n != 6 {
		t.Errorf("%d cgroups held, want 6", n)
	}
}

func cgroup(op string, id uint64, hierarchy uint32, path string) *event.Event {
	return &event.Event{Kind: event.KindCgroup, Cgroup: &event.Cgroup{ID: id, Hierarchy: hierarchy, Op: op, Path: event.Text(path)}}
}

func TestEvents(t *testing.T) {
	h := newHost(t)
	e := h.enricher(0)
	e.Enrich(cgroup("mkdir", 1000, 0, "/system.slice/docker-"+id1+".scope"))
	e.Enrich(cgroup("mkdir", 1000, 9, "/another/hierarchy"))
	if p := enrich(e, 1, event.Process{CgroupID: 1000}); p.Container == nil || p.Container.Runtime != "docker" {
		t.Fatalf("mkdir: %+v", p)
	}
	e.Enrich(cgroup("rmdir", 1000, 0, ""))
	if p := enrich(e, 1, event.Process{CgroupID: 1000}); p.Container == nil {
		t.Error("a late event of a removed cgroup lost its container")
	}
	e.Enrich(cgroup("mkdir", 5, 4, "/a"))
	e.Enrich(cgroup("mkdir", 6, 4, "/a/b.service"))
	e.Enrich(cgroup("rename", 5, 4, "/z"))
	if p := enrich(e, 1, event.Process{CgroupV1: 5}); p.Cgroup != "/z" {
		t.Errorf("rename: %s", p.Cgroup)
	}
	if p := enrich(e, 1, event.Process{CgroupV1: 6}); p.Cgroup != "" {
		t.Errorf("below a rename the old path stays: %s", p.Cgroup)
	}
	for i := range uint64(3 * removedKept) {
		e.Enrich(cgroup("mkdir", 10_000+i, 0, "/x"))
		e.Enrich(cgroup("rmdir", 10_000+i, 0, "/x"))
	}
	if n, _ := e.Size(); n > removedKept+10 {
		t.Errorf("%d removed cgroups are kept", n)
	}
}

func TestLookup(t *testing.T) {
	h := newHost(t)
	e := h.enricher(0)
	if err := e.Scan(context.Background(), h.mounts); err != nil {
		t.Fatal(err)
	}
	id := h.mkdir("uni fied/system.slice/late.service")
	h.write("proc/77/cgroup", "12:pids:/x\n4:memory:/\n0::/system.slice/late.service\n")
	if p := enrich(e, 1, event.Process{PID: 77, CgroupID: id}); p.Service != "late.service" {
		t.Errorf("not looked up: %+v", p)
	}
	enrich(e, 2, event.Process{PID: 77, CgroupID: id})
	if s := e.Stats(); s.Lookups != 1 || s.Failed != 0 {
		t.Errorf("stats %+v", s)
	}
	// the process has moved: its cgroup now is not that of the record
	other := h.mkdir("uni fied/other")
	if p := enrich(e, 3, event.Process{PID: 77, CgroupID: other}); p.Cgroup != "" {
		t.Errorf("believed %s, the path of another cgroup", p.Cgroup)
	}
	h.write("proc/78/cgroup", "0::/other\n")
	if p := enrich(e, 4, event.Process{PID: 78, CgroupID: other}); p.Cgroup != "" || e.Stats().Lookups != 2 {
		t.Error("what was not found is looked up again at once")
	}
	if p := enrich(e, 4+2*negativeTime, event.Process{PID: 78, CgroupID: other}); p.Cgroup != "/other" {
		t.Error("what was not found is never looked up again")
	}
	for i := range uint64(1000) {
		enrich(e, 4+2*negativeTime, event.Process{PID: 4242, CgroupID: 1<<40 + i})
	}
	if s := e.Stats(); s.Denied < 700 || s.Lookups > 210 {
		t.Errorf("the rate of lookups is not bounded: %+v", s)
	}
	exit := &event.Event{Kind: event.KindExit, Boot: 9e12, Process: &event.Process{PID: 78, CgroupID: 1 << 50}}
	before := e.Stats().Lookups
	e.Enrich(exit)
	if e.Stats().Lookups != before {
		t.Error("a dead process is looked up")
	}
}

func TestLimit(t *testing.T) {
	e := newHost(t).enricher(50)
	for i := range uint64(500) {
		e.Enrich(cgroup("mkdir", 100+i, 0, "/x"))
		if i%3 == 0 {
			e.Enrich(cgroup("rmdir", 100+i, 0, "/x"))
		}
		if n, limit := e.Size(); n > limit || n != len(e.known) {
			t.Fatalf("holds %d of %d", n, limit)
		}
	}
	if p := enrich(e, 1, event.Process{CgroupID: 599}); p.Cgroup != "/x" {
		t.Error("the youngest was evicted")
	}
	if e.Stats().Evicted == 0 {
		t.Error("evictions are not counted")
	}
}

// TestRealCgroup makes a cgroup, puts a process there and has it found.
func TestRealCgroup(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes a cgroup")
	}
	mounts, err := Mounts("/proc")
	if err != nil {
		t.Fatal(err)
	}
	if len(mounts) == 0 {
		t.Skip("needs a mounted cgroup hierarchy: mount -t cgroup2 none /sys/fs/cgroup")
	}
	m := mounts[0]
	name := fmt.Sprintf("merlon-test-%d.service", os.Getpid())
	dir := filepath.Join(m.Path, name)
	e := New(Options{})
	if err := e.Scan(context.Background(), mounts); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("needs a writable cgroup hierarchy: %v", err)
	}
	cmd := exec.Command("/bin/sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if err := os.Remove(dir); err != nil {
			t.Errorf("remove the test's cgroup: %v", err)
		}
	})
	procs := filepath.Join(dir, "cgroup.procs")
	if err := os.WriteFile(procs, []byte(strconv.Itoa(cmd.Process.Pid)), 0o644); err != nil {
		t.Skipf("needs a cgroup hierarchy that takes processes: %v", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	p := event.Process{PID: uint32(cmd.Process.Pid)}
	if m.Hierarchy == 0 {
		p.CgroupID = inode(info)
	} else {
		p.CgroupV1 = inode(info)
	}
	if got := enrich(e, 1, p); got.Service != name {
		t.Errorf("found %+v, want service %s", got, name)
	}
}

func BenchmarkEnrich(b *testing.B) {
	e := New(Options{Proc: b.TempDir()})
	for i := range uint64(1000) {
		e.Enrich(cgroup("mkdir", 1000+i, 0, "/system.slice/docker-"+id1+".scope"))
	}
	p := event.Process{CgroupID: 1500}
	ev := event.Event{Kind: event.KindExec, Process: &p}
	b.ReportAllocs()
	for b.Loop() {
		e.Enrich(&ev)
	}
}
