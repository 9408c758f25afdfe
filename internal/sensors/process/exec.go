package process

import (
	"bytes"
	"strings"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/record"
	"golang.org/x/sys/unix"
)

// environment lists the variables that change what a program loads or runs.
// The kernel side lets through what begins like one of them.
var environment = map[string]bool{
	"LD_PRELOAD": true, "LD_AUDIT": true, "LD_LIBRARY_PATH": true, "LD_DEBUG": true, "LD_DEBUG_OUTPUT": true,
	"LD_PROFILE": true, "LD_PROFILE_OUTPUT": true, "LD_ORIGIN_PATH": true, "LD_DYNAMIC_WEAK": true,
	"LD_SHOW_AUXV": true, "LD_BIND_NOT": true, "LD_HWCAP_MASK": true, "LD_ASSUME_KERNEL": true, "LD_USE_LOAD_BIAS": true,
	"GCONV_PATH": true, "GLIBC_TUNABLES": true, "LOCPATH": true,
	"BASH_ENV": true, "ENV": true, "PROMPT_COMMAND": true, "HISTFILE": true, "HISTFILESIZE": true,
	"PYTHONPATH": true, "PYTHONHOME": true, "PYTHONSTARTUP": true, "PYTHONINSPECT": true, "PYTHONWARNINGS": true,
	"PERL5LIB": true, "PERL5OPT": true, "PERL5DB": true, "RUBYOPT": true, "RUBYLIB": true,
	"NODE_OPTIONS": true, "JAVA_TOOL_OPTIONS": true, "_JAVA_OPTIONS": true,
}

// execSpans are the places of an exec record's strings.
type execSpans struct {
	comm, tty, exe, cwd, head record.Span // in keep
	filename, interp, env     record.Span // in more
	args                      record.Span // in more, unless all of it is head
	fds                       [3]string
	sameName                  bool // filename is exe's path, as it mostly is
}

func (d *Decoder) exec(rec []byte, ev *event.Event) error {
	r, rest, err := record.View[processExecRec](rec)
	if err != nil {
		return err
	}
	c := record.NewCursor(rest)
	d.keep.Reset()
	d.more.Reset()
	var at execSpans
	at.comm, at.tty = d.keep.Add(record.CString(r.Task.Comm[:])), d.keep.Add(record.CString(r.Task.Tty[:]))
	at.exe = d.keep.AddPath(c.Take(int(r.Exe.PathLen)), record.Status(r.Exe.Status))
	at.cwd = d.keep.AddPath(c.Take(int(r.CwdLen)), record.Status(r.CwdStatus))
	for i := range r.Fds {
		f := &r.Fds[i]
		at.fds[i] = d.fdPath(c.Take(int(f.File.PathLen)), record.Status(f.File.Status))
	}
	filename := trimNUL(c.Take(int(r.FilenameLen)))
	at.sameName = bytes.Equal(filename, d.keep.Bytes(at.exe))
	if !at.sameName {
		at.filename = d.more.Add(filename)
	}
	at.interp = d.more.Add(trimNUL(c.Take(int(r.InterpLen))))
	at.env = d.more.Add(c.Take(int(r.EnvLen)))
	args := c.Take(int(r.ArgsLen))
	if c.Bad() {
		return record.ErrShort
	}
	key := event.Key{PID: r.Task.Pid, Start: r.Task.Start}
	tail, whole := d.parts.take(key, uint32(r.ArgsParts))
	split := len(args)+len(tail) > keepArgs
	at.head = d.keep.Add(args[:min(len(args), keepArgs)])
	if split {
		at.args = d.more.Add(args)
		at.args.To = d.more.Add(tail).To
	}
	d.keep.Seal()
	d.more.Seal()

	p := d.execProcess(r, &at)
	e := d.newExec(r, &at, countArgs(args)+countArgs(tail))
	if at.sameName {
		e.Filename = p.Exe
	} else {
		e.Filename = event.Text(d.more.Get(at.filename))
	}
	if processExecFlag(r.Flags)&processExecFlagEXEC_SCRIPT != 0 {
		e.Script, e.Interpreter = e.Filename, event.Text(d.more.Get(at.interp))
	}
	if split {
		e.Args = splitArgs(e.Args, d.more.Get(at.args))
	} else {
		e.Args = p.Args
	}
	have := uint32(len(args) + len(tail))
	e.ArgsCut = !whole || have < e.ArgsBytes
	ev.Kind, ev.Process, ev.Exec = event.KindExec, p, e
	return nil
}

// execProcess makes the part that outlives the event, in one allocation and
// one for its arguments.
func (d *Decoder) execProcess(r *processExecRec, at *execSpans) *event.Process {
	out := new(struct {
		proc event.Process
		file event.File
	})
	p := &out.proc
	fillProcess(p, &r.Task)
	d.fillFile(&out.file, &r.Exe)
	text := func(s record.Span) event.Text { return event.Text(d.keep.Get(s)) }
	p.Comm, p.TTY, p.Exe, p.CWD = text(at.comm), text(at.tty), text(at.exe), text(at.cwd)
	head := d.keep.Get(at.head)
	p.Args = splitArgs(make([]event.Text, 0, strings.Count(head, "\x00")+1), head)
	out.file.Path = p.Exe
	p.File = &out.file
	p.Origin = event.OriginExec
	return p
}

// execPart is what an exec event holds beyond its process. Events are
// short-lived, so their parts are allocated several at a time.
type execPart struct {
	exec   event.Exec
	before event.Creds
	fds    [3]event.FD
}

// newExec makes the part that ends with the event, but for its name and
// arguments, which it may share with the process.
func (d *Decoder) newExec(r *processExecRec, at *execSpans, argc int) *event.Exec {
	if len(d.execs) == 0 {
		d.execs = make([]execPart, 16)
	}
	out := &d.execs[0]
	d.execs = d.execs[1:]
	e := &out.exec
	flags := processExecFlag(r.Flags)
	e.ArgsBytes = r.ArgsBytes
	if at.args != (record.Span{}) {
		e.Args = make([]event.Text, 0, argc)
	}
	if flags&processExecFlagEXEC_BEFORE != 0 {
		out.before = credentials(&r.Before)
		e.Before = &out.before
	}
	e.Secure = flags&processExecFlagEXEC_SECURE != 0
	e.EnvCut = flags&processExecFlagEXEC_ENV_CUT != 0
	e.Env = splitEnv(d.more.Get(at.env))
	e.FDs = out.fds[:]
	for i := range out.fds {
		fd(&out.fds[i], i, &r.Fds[i], event.Text(at.fds[i]))
	}
	return e
}

// fdPath returns the path of a descriptor. Few paths serve most processes
// (/dev/null, terminals, logs): equal ones share one string.
func (d *Decoder) fdPath(b []byte, status record.Status) string {
	if len(b) == 0 && status != record.PathOK {
		return ""
	}
	d.path.Reset()
	return d.intern(d.path.Bytes(d.path.AddPath(b, status)))
}

func fd(out *event.FD, num int, r *processFdRec, path event.Text) {
	out.Num = num
	if r.Open == 0 {
		out.Type = "closed"
		return
	}
	out.Inode = r.File.Ino
	switch r.File.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		out.Type = "socket"
		if r.Sock.Family != 0 {
			out.Socket = socket(&r.Sock)
		}
	case unix.S_IFIFO:
		out.Type = "pipe"
		if r.File.Status == uint8(processPathStatusPATH_OK) { // a named one
			out.Path = path
		}
	case unix.S_IFREG:
		out.Type, out.Path = "file", path
	case unix.S_IFDIR:
		out.Type, out.Path = "dir", path
	case unix.S_IFCHR:
		out.Type, out.Path = "char", path
	case unix.S_IFBLK:
		out.Type, out.Path = "block", path
	default:
		out.Type, out.Path = "anon", path
	}
}

// splitEnv cuts NUL-separated NAME=value strings and keeps those that the
// environment table names.
func splitEnv(s string) []event.Var {
	var vars []event.Var
	for len(s) > 0 {
		one, rest, _ := strings.Cut(s, "\x00")
		s = rest
		name, value, ok := strings.Cut(one, "=")
		if ok && environment[name] {
			vars = append(vars, event.Var{Name: event.Text(name), Value: event.Text(value)})
		}
	}
	return vars
}

func trimNUL(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == 0 {
		return b[:n-1]
	}
	return b
}
