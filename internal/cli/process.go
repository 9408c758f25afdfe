package cli

import (
	"strconv"
	"strings"

	"github.com/merlon/merlon/internal/event"
)

// userOf names who a process acts as.
func userOf(p *event.Process) string {
	if p.User != "" {
		return event.Safe(p.User)
	}
	return strconv.FormatUint(uint64(p.Creds.EUID), 10)
}

// commandOf is the short name of what a process runs.
func commandOf(p *event.Process) string {
	if p.Exe != "" {
		exe := string(p.Exe)
		return event.Safe(exe[strings.LastIndexByte(exe, '/')+1:])
	}
	return p.Comm.String()
}

// placeOf says where a process runs: its container, its service.
func placeOf(p *event.Process) string {
	switch {
	case p.Container != nil && p.Container.ID != "":
		id := p.Container.ID
		return event.Safe(p.Container.Runtime) + ":" + event.Safe(id[:min(len(id), 12)])
	case p.Service != "":
		return event.Safe(p.Service)
	case p.Slice != "" && p.Slice != "-.slice":
		return event.Safe(p.Slice)
	}
	return ""
}

// lineage is the chain of commands that led to p, p last.
func lineage(p *event.Process, most int) string {
	names := []string{commandOf(p) + "(" + strconv.FormatUint(uint64(p.PID), 10) + ")"}
	for a := range p.Ancestors {
		if len(names) == most {
			names = append(names, "…")
			break
		}
		names = append(names, commandOf(a)+"("+strconv.FormatUint(uint64(a.PID), 10)+")")
	}
	for i, j := 0, len(names)-1; i < j; i, j = i+1, j-1 {
		names[i], names[j] = names[j], names[i]
	}
	return strings.Join(names, " → ")
}

// words writes an argument vector so that its parts can be told apart. It
// stops after most bytes.
func words(args []event.Text, most int) string {
	var b strings.Builder
	for i, a := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		if b.Len() > most {
			b.WriteString("…")
			break
		}
		text := string(a)
		if len(text) > most {
			text = text[:most]
		}
		s := event.Safe(text)
		if s == "" || strings.ContainsAny(s, " '\"\\$`|&;<>*?()") {
			s = "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
		}
		b.WriteString(s)
		if len(text) < len(a) {
			b.WriteString("…")
			break
		}
	}
	return b.String()
}

// marks lists what is unusual about an exec, for a reader's eye.
func marks(ev *event.Event) []string {
	var m []string
	if f := ev.Process.File; f != nil {
		for _, c := range []struct {
			on   bool
			name string
		}{
			{f.Memfd, "memfd"}, {f.Deleted && !f.Memfd, "deleted"}, {f.Setuid(), "setuid"}, {f.Setgid(), "setgid"},
			{f.Upper, "not in image"}, {f.Unresolved != "", "path " + f.Unresolved},
		} {
			if c.on {
				m = append(m, event.Safe(c.name))
			}
		}
	}
	if x := ev.Exec; x != nil {
		for _, fd := range x.FDs {
			if fd.Socket != nil || fd.Type == "socket" {
				m = append(m, [3]string{"stdin", "stdout", "stderr"}[min(max(fd.Num, 0), 2)]+"="+socketText(fd.Socket))
			}
		}
		for _, v := range x.Env {
			m = append(m, fit(v.Name.String()+"="+v.Value.String(), 60))
		}
		if x.ArgsCut {
			m = append(m, "arguments cut")
		}
	}
	return m
}

func socketText(s *event.Socket) string {
	if s == nil || s.RemoteAddr == "" {
		return "socket"
	}
	return event.Safe(s.RemoteAddr) + ":" + strconv.Itoa(int(s.RemotePort))
}
