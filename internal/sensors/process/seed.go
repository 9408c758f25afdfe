package process

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
	"github.com/merlon/merlon/internal/record"
)

// Seed implements contract.Seeder: every process there is, from the task
// iterator, else from /proc.
func (s *Sensor) Seed(ctx context.Context, emit func(*event.Event)) error {
	s.mu.Lock()
	unit, seeds := s.unit, s.seeds
	s.mu.Unlock()
	d := NewDecoder() // Decode's own may be in use
	if unit != nil && seeds {
		seen := make(map[uint32]bool)
		err := seedIterator(ctx, unit, d, func(ev *event.Event) {
			seen[ev.Process.PID] = true
			emit(ev)
		})
		if err == nil {
			return seedProc(ctx, d, seen, emit) // some kernels' iterator leaves out pid 1
		}
		s.log.Warn("seed from the task iterator, taking /proc", "err", err)
	}
	return seedProc(ctx, d, nil, emit)
}

func seedIterator(ctx context.Context, unit *kernel.Unit, d *Decoder, emit func(*event.Event)) error {
	it, err := unit.Iterate(processProgProcSeed)
	if err != nil {
		return fmt.Errorf("iterate tasks: %w", err)
	}
	defer it.Close()
	in := bufio.NewReaderSize(it, 64<<10)
	fixed := make([]byte, unsafe.Sizeof(processSeedRec{}))
	var text []byte
	var ev event.Event
	for ctx.Err() == nil {
		if _, err := io.ReadFull(in, fixed); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read task iterator: %w", err)
		}
		r, _, err := record.View[processSeedRec](fixed)
		if err != nil {
			return err
		}
		n := int(r.Exe.PathLen) + int(r.CwdLen)
		text = append(text[:0], make([]byte, n)...)
		if _, err := io.ReadFull(in, text); err != nil {
			return fmt.Errorf("read task iterator: %w", err)
		}
		ev.Reset()
		d.seed(r, text, &ev)
		ev.Process.Args, _ = guarded(&d.guard, func() []event.Text { return cmdline(r.Task.Pid) })
		emit(&ev)
	}
	return ctx.Err()
}

func (d *Decoder) seed(r *processSeedRec, text []byte, ev *event.Event) {
	out := new(struct {
		proc event.Process
		file event.File
	})
	p := &out.proc
	d.keep.Reset()
	comm, tty := d.keep.Add(record.CString(r.Task.Comm[:])), d.keep.Add(record.CString(r.Task.Tty[:]))
	exe := d.keep.AddPath(text[:r.Exe.PathLen], record.Status(r.Exe.Status))
	cwd := d.keep.AddPath(text[r.Exe.PathLen:], record.Status(r.CwdStatus))
	d.keep.Seal()
	fillProcess(p, &r.Task)
	p.Comm, p.TTY = event.Text(d.keep.Get(comm)), event.Text(d.keep.Get(tty))
	if r.Exe.Ino != 0 { // else a kernel thread
		d.fillFile(&out.file, &r.Exe)
		p.Exe, p.CWD, p.File = event.Text(d.keep.Get(exe)), event.Text(d.keep.Get(cwd)), &out.file
		out.file.Path = p.Exe
	}
	p.Origin = event.OriginSeed
	ev.Kind, ev.Process, ev.Boot, ev.CPU = event.KindTask, p, r.Hdr.Time, r.Hdr.Cpu
	ev.Time = d.clock.Wall(r.Hdr.Time)
}

// cmdline returns the first 4 KiB of a process's argument vector.
func cmdline(pid uint32) []event.Text {
	f, err := os.Open("/proc/" + strconv.Itoa(int(pid)) + "/cmdline")
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, keepArgs))
	if err != nil || len(b) == 0 {
		return nil
	}
	return splitArgs(make([]event.Text, 0, countArgs(b)), string(b))
}

// seedProc tells every process of /proc that isn't in seen. Start times have
// its resolution, 10 ms; namespaces and credentials are as complete as /proc
// is.
func seedProc(ctx context.Context, d *Decoder, seen map[uint32]bool, emit func(*event.Event)) error {
	dir, err := os.Open("/proc")
	if err != nil {
		return fmt.Errorf("read /proc: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("read /proc: %w", err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return fmt.Errorf("read boot clock: %w", err)
	}
	starts := make(map[uint32]uint64)
	var procs []*event.Process
	for _, name := range names {
		pid, err := strconv.ParseUint(name, 10, 32)
		if err != nil || ctx.Err() != nil || seen[uint32(pid)] {
			continue
		}
		if p, _ := guarded(&d.guard, func() *event.Process { return procProcess(uint32(pid)) }); p != nil {
			starts[p.PID] = p.Start
			procs = append(procs, p)
		}
	}
	for _, p := range procs {
		p.PStart = starts[p.PPID]
		ev := event.Event{Kind: event.KindTask, Process: p, Boot: uint64(now.Nano()), Time: d.clock.Wall(uint64(now.Nano()))}
		emit(&ev)
	}
	return ctx.Err()
}

// procProcess reads one process; nil when it ended meanwhile. proc(5).
func procProcess(pid uint32) *event.Process {
	base := "/proc/" + strconv.Itoa(int(pid)) + "/"
	stat, err := os.ReadFile(base + "stat")
	if err != nil {
		return nil
	}
	status, err := os.ReadFile(base + "status")
	if err != nil {
		return nil
	}
	p := &event.Process{PID: pid, Origin: event.OriginSeed, LoginUID: ^uint32(0), AuditSess: ^uint32(0)}
	if !parseStat(stat, p) {
		return nil
	}
	parseStatus(status, p)
	if exe, err := os.Readlink(base + "exe"); err == nil {
		path, deleted := strings.CutSuffix(exe, " (deleted)")
		p.Exe = event.Text(path)
		p.File = &event.File{Path: p.Exe, Deleted: deleted, Memfd: strings.HasPrefix(path, "/memfd:")}
		var st unix.Stat_t
		if unix.Stat(base+"exe", &st) == nil {
			p.File.Inode, p.File.Mode, p.File.Links = st.Ino, st.Mode, uint32(st.Nlink)
			p.File.UID, p.File.GID = st.Uid, st.Gid
			p.File.Dev = uint64(unix.Major(st.Dev))<<20 | uint64(unix.Minor(st.Dev))
		}
	}
	if cwd, err := os.Readlink(base + "cwd"); err == nil {
		p.CWD = event.Text(cwd)
	}
	for name, to := range map[string]*uint32{"mnt": &p.NS.Mnt, "pid": &p.NS.PID, "net": &p.NS.Net,
		"user": &p.NS.User, "uts": &p.NS.UTS, "ipc": &p.NS.IPC, "cgroup": &p.NS.Cgroup} {
		var st unix.Stat_t
		if unix.Stat(base+"ns/"+name, &st) == nil {
			*to = uint32(st.Ino)
		}
	}
	p.LoginUID = procNumber(base + "loginuid")
	p.AuditSess = procNumber(base + "sessionid")
	p.Args = cmdline(pid)
	return p
}

func procNumber(path string) uint32 {
	b, err := os.ReadFile(path)
	if err != nil {
		return ^uint32(0)
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 32)
	if err != nil {
		return ^uint32(0)
	}
	return uint32(n)
}

// parseStat reads comm, parent, group, session and start time of
// /proc/PID/stat. The start time is in ticks of 1/100 s.
func parseStat(b []byte, p *event.Process) bool {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return false
	}
	p.Comm = event.Text(b[open+1 : end])
	f := strings.Fields(string(b[end+1:]))
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return false
	}
	n := func(i int) uint64 { v, _ := strconv.ParseUint(f[i], 10, 64); return v }
	p.PPID, p.PGID, p.SID = uint32(n(1)), uint32(n(2)), uint32(n(3))
	p.Start = n(19) * 10_000_000
	return p.Start != 0 || p.PID == 1
}

// parseStatus reads ids and capabilities of /proc/PID/status.
func parseStatus(b []byte, p *event.Process) {
	c := &p.Creds
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		f := strings.Fields(value)
		id := func(i int) uint32 {
			if i >= len(f) {
				return 0
			}
			n, _ := strconv.ParseUint(f[i], 10, 32)
			return uint32(n)
		}
		caps := func(to *event.CapSet) {
			if len(f) == 1 {
				_ = to.UnmarshalText([]byte(f[0])) // the kernel's own hexadecimal
			}
		}
		switch key {
		case "Uid":
			c.UID, c.EUID, c.SUID = id(0), id(1), id(2)
		case "Gid":
			c.GID, c.EGID, c.SGID = id(0), id(1), id(2)
		case "NSpid":
			if n := len(f); n > 1 {
				p.NSPID = id(n - 1)
			}
		case "CapInh":
			caps(&c.Inheritable)
		case "CapPrm":
			caps(&c.Permitted)
		case "CapEff":
			caps(&c.Effective)
		case "CapBnd":
			caps(&c.Bounding)
		case "CapAmb":
			caps(&c.Ambient)
		}
	}
}
