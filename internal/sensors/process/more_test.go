package process

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/merlon/merlon/internal/event"
)

func TestEnvironment(t *testing.T) {
	h := start(t)
	prog := install(t, t.TempDir(), "p", 0, 0o755)
	run := func(env []string) *event.Exec {
		cmd := exec.Command(prog)
		cmd.Env = env
		return h.run(cmd).Exec
	}
	filler := func(n int) []string {
		var e []string
		for i := range n {
			e = append(e, fmt.Sprintf("FILLER_%d=%d", i, i))
		}
		return e
	}
	long := strings.Repeat("v", 5000)
	e := run(slices.Concat(filler(100), []string{"LONG=" + long, "LD_AUDIT=" + long, "PYTHONPATH=\xff\x01"}, filler(100)))
	if e.EnvCut || len(e.Env) != 2 {
		t.Fatalf("cut %v, %d variables", e.EnvCut, len(e.Env))
	}
	if e.Env[0].Name != "LD_AUDIT" || string(e.Env[0].Value) != long[:1023-len("LD_AUDIT=")] {
		t.Errorf("long variable: %s of %d bytes", e.Env[0].Name, len(e.Env[0].Value))
	}
	if e.Env[1].Name != "PYTHONPATH" || e.Env[1].Value != "\xff\x01" {
		t.Errorf("hostile variable: %q", e.Env[1].Value)
	}
	if e := run([]string{}); e.EnvCut || len(e.Env) != 0 {
		t.Errorf("empty environment: cut %v, %v", e.EnvCut, e.Env)
	}
	if e := run(slices.Concat(filler(1000), []string{"LD_PRELOAD=/late"})); !e.EnvCut {
		t.Errorf("1001 variables: not marked as cut: %v", e.Env)
	}
	var many []string
	for i := range 20 {
		many = append(many, fmt.Sprintf("LD_%d=%s", i, strings.Repeat("x", 900)))
	}
	if e := run(many); !e.EnvCut {
		t.Error("20 wanted variables of 900 bytes: not marked as cut")
	}
}

func TestCgroup(t *testing.T) {
	h := start(t)
	root := h.k.Environment().CgroupPath
	if root == "" {
		t.Skip("no cgroup2 mount and none could be made")
	}
	dir := filepath.Join(root, fmt.Sprintf("merlon-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(dir)
	st := statFile(t, dir)
	made := h.wait("cgroup made", func(ev *event.Event) bool {
		return ev.Kind == event.KindCgroup && ev.Cgroup.Op == "mkdir" && ev.Cgroup.ID == st.Inode
	})
	if !strings.HasSuffix(string(made.Cgroup.Path), filepath.Base(dir)) {
		t.Errorf("path %q", made.Cgroup.Path)
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(install(t, t.TempDir(), "p", 0, 0o755))
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd())}
	if id := h.run(cmd).Process.CgroupID; id != st.Inode {
		t.Errorf("cgroup id %d, want %d", id, st.Inode)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	h.wait("cgroup removed", func(ev *event.Event) bool {
		return ev.Kind == event.KindCgroup && ev.Cgroup.Op == "rmdir" && ev.Cgroup.ID == st.Inode
	})
}

// TestSeed compares what the task iterator and /proc tell of this process.
func TestSeed(t *testing.T) {
	h := start(t)
	find := func(seed func(func(*event.Event)) error) *event.Process {
		var self *event.Process
		pids := make(map[uint32]int)
		if err := seed(func(ev *event.Event) {
			pids[ev.Process.PID]++
			if ev.Process.PID == uint32(os.Getpid()) {
				self = ev.Process
			}
		}); err != nil {
			t.Fatal(err)
		}
		if self == nil || pids[1] != 1 || pids[self.PID] != 1 {
			t.Fatalf("own process told %d times, pid 1 %d times", pids[uint32(os.Getpid())], pids[1])
		}
		return self
	}
	ctx := context.Background()
	fromProc := find(func(emit func(*event.Event)) error { return seedProc(ctx, NewDecoder(), nil, emit) })
	if !h.sensor.seeds {
		t.Skip("no task iterator on this kernel; /proc serves")
	}
	fromIter := find(func(emit func(*event.Event)) error { return h.sensor.Seed(ctx, emit) })
	if fromIter.Start/10_000_000 != fromProc.Start/10_000_000 || fromIter.PPID != fromProc.PPID {
		t.Errorf("iterator %+v, /proc %+v", fromIter.Key(), fromProc.Key())
	}
	if fromIter.Creds != fromProc.Creds || fromIter.NS != fromProc.NS || fromIter.Exe != fromProc.Exe || fromIter.CWD != fromProc.CWD {
		t.Errorf("iterator\n%+v\n/proc\n%+v", fromIter, fromProc)
	}
	if *fromIter.File != (event.File{Path: fromProc.File.Path, Dev: fromProc.File.Dev, Inode: fromProc.File.Inode,
		Mode: fromProc.File.Mode, UID: fromProc.File.UID, GID: fromProc.File.GID, Links: fromProc.File.Links,
		Deleted: fromProc.File.Deleted, FS: fromIter.File.FS}) {
		t.Errorf("file: iterator %+v, /proc %+v", fromIter.File, fromProc.File)
	}
}

// TestNeeds changes what is asked for while the sensor runs.
func TestNeeds(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	if err := h.sensor.Attach(ctx, []event.Kind{event.KindExit}); err != nil {
		t.Fatal(err)
	}
	if got := h.sensor.unit.Attached(); !slices.Equal(got, []string{processProgProcExit}) {
		t.Fatalf("attached for exit alone: %v", got)
	}
	prog := install(t, t.TempDir(), "p", 0, 0o755)
	cmd := exec.Command(prog)
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	h.of(event.KindExit, cmd.Process.Pid)
	h.mu.Lock()
	for _, ev := range h.events {
		if ev.Kind != event.KindExit && ev.Process != nil && ev.Process.PID == uint32(cmd.Process.Pid) {
			t.Errorf("a %s event that nobody asked for", ev.Kind)
		}
	}
	h.mu.Unlock()
	if err := h.sensor.Attach(ctx, h.sensor.Info().Kinds); err != nil {
		t.Fatal(err)
	}
	h.run(exec.Command(prog))
}

// TestBooks: what the kernel says it produced is what arrived plus what it
// counts as lost.
func TestBooks(t *testing.T) {
	h := start(t)
	prog := install(t, t.TempDir(), "p", 0, 0o755)
	var last int
	for range 50 {
		cmd := exec.Command(prog, strings.Repeat("a", 30000))
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		last = cmd.Process.Pid
	}
	h.of(event.KindExit, last)
	if err := h.sensor.Attach(context.Background(), nil); err != nil { // nothing more is produced
		t.Fatal(err)
	}
	counts, err := h.k.Counts()
	if err != nil {
		t.Fatal(err)
	}
	for wire, kind := range map[processEventKind]event.Kind{processEventKindKIND_EXEC: event.KindExec,
		processEventKindKIND_EXIT: event.KindExit, processEventKindKIND_FORK: event.KindFork} {
		c := counts[uint16(wire)]
		lost := uint64(0)
		for _, n := range c.Lost {
			lost += n
		}
		for deadline := time.Now().Add(20 * time.Second); h.count(kind) < c.Produced-lost && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
		}
		if n := h.count(kind); n != c.Produced-lost || n < 50 {
			t.Errorf("%s: %d arrived, produced %d, lost %d", kind, n, c.Produced, lost)
		}
		for reason, n := range c.Faults {
			if n != 0 {
				t.Errorf("%s: %d faults: %s", kind, n, reason)
			}
		}
	}
	if parts := counts[uint16(processEventKindKIND_ARGS)].Produced; parts != uint64(h.parts) || parts < 50 {
		t.Errorf("continuation records: %d arrived, %d produced", h.parts, parts)
	}
}

// TestProbe checks what the features promise, and prints them for the page of
// kernels.
func TestProbe(t *testing.T) {
	s := New(openKernel(t), slog.New(slog.DiscardHandler))
	for _, f := range s.Probe(context.Background()) {
		fmt.Printf("MERLON-FACT {\"type\":\"feature\",\"group\":%q,\"name\":%q,\"tier\":%q,\"guarantee\":%q,\"why\":%q}\n",
			f.Group, f.Name, f.Tier, f.Guarantee, f.Why)
		if f.Guarantee != event.Observe {
			t.Errorf("%s: %s: %s %+v", f.Name, f.Guarantee, f.Why, f.Tried)
		}
	}
	defer s.Close()
	if err := s.Attach(context.Background(), s.Info().Kinds); err != nil {
		t.Fatal(err)
	}
	for _, p := range s.k.Programs() {
		fmt.Printf("MERLON-FACT {\"type\":\"insns\",\"program\":%q,\"count\":%d}\n", p.Name, p.VerifiedInsns)
		if p.VerifiedInsns > 800_000 {
			t.Errorf("program %s: %d instructions verified, over 80%% of the kernel's limit of 1,000,000", p.Name, p.VerifiedInsns)
		}
	}
	for _, l := range s.k.Links() {
		if strings.Contains(l.Attach, "sys_enter") || strings.Contains(l.Attach, "sys_exit") || strings.Contains(l.Attach, "syscalls") {
			t.Errorf("%+v sits on every system call", l)
		}
	}
}
