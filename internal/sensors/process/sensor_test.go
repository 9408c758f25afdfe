package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
)

func statFile(t *testing.T, path string) *event.File {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatalf("stat %s: %v", path, err)
	}
	return &event.File{Path: event.Text(path), Inode: st.Ino, Mode: st.Mode, UID: st.Uid, GID: st.Gid,
		Links: uint32(st.Nlink), Dev: uint64(unix.Major(st.Dev))<<20 | uint64(unix.Minor(st.Dev))}
}

// TestWholeEvent runs one program and compares every field of its fork, exec
// and exit with what the system tells by other ways.
func TestWholeEvent(t *testing.T) {
	h := start(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	prog := install(t, dir, "prog", 7, 0o755)
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pr.Close()
	defer pw.Close()
	cmd := exec.Command(prog, "one", "", "three \x1b[31m\xff")
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = pw, out
	cmd.Env = []string{"PATH=/bin", "LD_PRELOAD=/x.so", "HOME=/", "LD_NOT_KNOWN=1", "BASH_ENV=/b", "ENV=e", "ENVX=no"}
	ev := h.run(cmd)
	p, e := ev.Process, ev.Exec

	self := procProcess(uint32(os.Getpid()))
	want := *self
	want.PID, want.PPID = uint32(cmd.Process.Pid), uint32(os.Getpid())
	want.Exe, want.CWD, want.Comm = event.Text(prog), event.Text(dir), "prog"
	want.Args = []event.Text{event.Text(prog), "one", "", "three \x1b[31m\xff"}
	want.File, want.Origin = statFile(t, prog), event.OriginExec
	opts := cmp.Options{cmpopts.IgnoreUnexported(event.Process{}),
		cmpopts.IgnoreFields(event.Process{}, "Start", "PStart", "CgroupID", "CgroupV1", "TTY"),
		cmpopts.IgnoreFields(event.File{}, "FS")}
	if d := cmp.Diff(&want, p, opts); d != "" {
		t.Errorf("process (-want +got):\n%s", d)
	}
	if p.PStart/10_000_000*10_000_000 != self.Start {
		t.Errorf("parent start %d, want %d rounded down to 10 ms", p.PStart, self.Start)
	}
	if p.Start <= p.PStart || p.Start > ev.Boot {
		t.Errorf("start %d not between the parent's %d and the event's %d", p.Start, p.PStart, ev.Boot)
	}
	if p.File.FS == "" {
		t.Error("no file system type")
	}
	outInode, pipeInode := statFile(t, out.Name()), pipeInode(t, pw)
	wantExec := &event.Exec{Filename: event.Text(prog), Args: want.Args, ArgsBytes: uint32(len(prog) + 1 + 4 + 1 + 13),
		Env: []event.Var{{Name: "LD_PRELOAD", Value: "/x.so"}, {Name: "BASH_ENV", Value: "/b"}, {Name: "ENV", Value: "e"}},
		FDs: []event.FD{
			{Num: 0, Type: "char", Path: "/dev/null", Inode: statFile(t, "/dev/null").Inode},
			{Num: 1, Type: "pipe", Inode: pipeInode},
			{Num: 2, Type: "file", Path: event.Text(out.Name()), Inode: outInode.Inode}}}
	if h.sensor.before != "" {
		wantExec.Before = &self.Creds
	}
	if d := cmp.Diff(wantExec, e, opts); d != "" {
		t.Errorf("exec (-want +got):\n%s", d)
	}

	fork := h.of(event.KindFork, cmd.Process.Pid)
	if fork.Process.Key() != p.Key() || fork.Process.ParentKey() != p.ParentKey() || fork.Fork.Creator != p.ParentKey() {
		t.Errorf("fork tells %+v by %+v, exec %+v by %+v", fork.Process.Key(), fork.Fork.Creator, p.Key(), p.ParentKey())
	}
	if fork.Process.Creds != self.Creds || fork.Process.NS != self.NS {
		t.Errorf("fork: credentials %+v, namespaces %+v", fork.Process.Creds, fork.Process.NS)
	}
	exit := h.of(event.KindExit, cmd.Process.Pid)
	x := exit.Exit
	if x.Code != 7 || x.Signal != 0 || x.Core || x.CPU < 0 || x.CPU == 0 && x.Lifetime > 20*time.Millisecond || x.PeakRSS == 0 || x.Lifetime <= 0 {
		t.Errorf("exit: %+v", x)
	}
	if exit.Process.Key() != p.Key() {
		t.Errorf("exit of %+v, want %+v", exit.Process.Key(), p.Key())
	}
	if fork.Boot > ev.Boot || ev.Boot > exit.Boot {
		t.Errorf("fork %d, exec %d, exit %d: not in order", fork.Boot, ev.Boot, exit.Boot)
	}
}

func pipeInode(t *testing.T, f *os.File) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// TestArgs runs argument vectors around every limit.
func TestArgs(t *testing.T) {
	h := start(t)
	prog := install(t, t.TempDir(), "p", 0, 0o755)
	for _, size := range []int{0, 100, 4000, 5000, 24500, 24577, 30000, 49152, 100000, 131000, 131072, 150000, 400000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			args := []string{prog}
			for n := 0; n < size; n += 1001 {
				args = append(args, strings.Repeat(string(rune('a'+n%26)), min(1000, size-n)))
			}
			total := 0
			for _, a := range args {
				total += len(a) + 1
			}
			h.t = t
			e := h.run(&exec.Cmd{Path: prog, Args: args}).Exec
			if e.ArgsBytes != uint32(total) {
				t.Errorf("args_bytes %d, want %d", e.ArgsBytes, total)
			}
			got, want := joinArgs(e.Args), strings.Join(args, "\x00")+"\x00"
			if total <= 128<<10 {
				if e.ArgsCut || got != want {
					t.Errorf("cut=%v, %d bytes of %d", e.ArgsCut, len(got), len(want))
				}
				return
			}
			if !e.ArgsCut || len(got) < 128<<10 || !strings.HasPrefix(want, got[:len(got)-1]) {
				t.Errorf("over the limit: cut=%v, %d bytes of %d", e.ArgsCut, len(got), len(want))
			}
		})
	}
}

func joinArgs(args []event.Text) string {
	var b strings.Builder
	for _, a := range args {
		b.WriteString(string(a))
		b.WriteByte(0)
	}
	return b.String()
}

func TestScript(t *testing.T) {
	h := start(t)
	dir := t.TempDir()
	prog := install(t, dir, "interp", 3, 0o755)
	script := filepath.Join(dir, "script.sh")
	if err := os.WriteFile(script, []byte("#!"+prog+" -x\nbody\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ev := h.run(exec.Command(script, "arg"))
	e := ev.Exec
	if e.Filename != event.Text(script) || e.Script != event.Text(script) || e.Interpreter != event.Text(prog) {
		t.Errorf("filename %q script %q interpreter %q", e.Filename, e.Script, e.Interpreter)
	}
	if ev.Process.Exe != event.Text(prog) {
		t.Errorf("exe %q, want the interpreter %q", ev.Process.Exe, prog)
	}
	if d := cmp.Diff([]event.Text{event.Text(prog), "-x", event.Text(script), "arg"}, e.Args); d != "" {
		t.Error(d)
	}
}

func TestSetuid(t *testing.T) {
	h := start(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		_ = os.Chmod(d, 0o755) // the unprivileged child must get there
	}
	prog := install(t, dir, "su", 0, 0o755|os.ModeSetuid)
	cmd := exec.Command(prog)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1234, Gid: 4321}}
	ev := h.run(cmd)
	c := ev.Process.Creds
	if c.UID != 1234 || c.EUID != 0 || c.SUID != 0 || c.GID != 4321 || c.EGID != 4321 {
		t.Errorf("credentials after: %+v", c)
	}
	if !c.Effective.Has("SYS_ADMIN") {
		t.Errorf("capabilities after: %v", c.Effective.Names())
	}
	if !ev.Process.File.Setuid() || !ev.Exec.Secure {
		t.Errorf("setuid %v, secure %v", ev.Process.File.Setuid(), ev.Exec.Secure)
	}
	if h.sensor.before == "" {
		t.Log("credentials before exec: not on this kernel")
		return
	}
	if b := ev.Exec.Before; b == nil || b.EUID != 1234 || b.UID != 1234 || b.EGID != 4321 || b.Effective != 0 {
		t.Errorf("credentials before: %+v", b)
	}
}

func TestSignalAndCore(t *testing.T) {
	h := start(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"MERLON_TEST_ROLE=sleep"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait()
	x := h.of(event.KindExit, cmd.Process.Pid).Exit
	if x.Signal != int(syscall.SIGKILL) || x.Code != 0 || x.Core {
		t.Errorf("exit by SIGKILL: %+v", x)
	}
	cmd = exec.Command("/proc/self/exe")
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"MERLON_TEST_ROLE=crash"}
	_ = cmd.Run()
	x = h.of(event.KindExit, cmd.Process.Pid).Exit
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if x.Signal != int(status.Signal()) || x.Core != status.CoreDump() {
		t.Errorf("exit by crash: %+v, wait tells signal %v core %v", x, status.Signal(), status.CoreDump())
	}
}
