package cli

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/merlon/merlon/internal/event"
)

// column is one column of a trace: its head, its width (below zero: to the
// right; 0 for the last one, of any width), and what stands in it.
type column struct {
	head  string
	width int
	value func(ev *event.Event) string // free of control characters
}

// traceHead writes the heads of columns.
func traceHead(cols []column) string {
	return traceRow(cols, func(c column) string { return c.head })
}

// traceLine writes an event in columns.
func traceLine(cols []column, ev *event.Event) string {
	return traceRow(cols, func(c column) string { return c.value(ev) })
}

func traceRow(cols []column, cell func(column) string) string {
	var b strings.Builder
	for i, c := range cols {
		if i > 0 {
			b.WriteByte(' ')
		}
		text := cell(c)
		switch {
		case c.width > 0: // what is too long pushes the rest: nothing is cut
			b.WriteString(text + strings.Repeat(" ", max(0, c.width-columns(text))))
		case c.width < 0:
			b.WriteString(strings.Repeat(" ", max(0, -c.width-columns(text))) + text)
		default:
			b.WriteString(text)
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// Columns that many traces have.
func colTime() column {
	return column{"TIME", 12, func(ev *event.Event) string { return ev.Time.Local().Format("15:04:05.000") }}
}

func colPID() column {
	return column{"PID", -7, func(ev *event.Event) string {
		switch {
		case ev.Thread.PID != 0:
			return strconv.FormatUint(uint64(ev.Thread.PID), 10)
		case ev.Process != nil:
			return strconv.FormatUint(uint64(ev.Process.PID), 10)
		}
		return "-"
	}}
}

func colUser() column {
	return column{"USER", 10, func(ev *event.Event) string {
		switch {
		case ev.Process != nil && ev.Process.User != "" && (ev.Thread.PID == 0 || ev.Process.Creds.EUID == ev.Thread.EUID):
			return event.Safe(ev.Process.User)
		case ev.Thread.PID != 0:
			return strconv.FormatUint(uint64(ev.Thread.EUID), 10)
		case ev.Process != nil:
			return userOf(ev.Process)
		}
		return "-"
	}}
}

func colComm() column {
	return column{"COMM", 15, func(ev *event.Event) string {
		if ev.Thread.Comm != "" {
			return ev.Thread.Comm.String()
		}
		if ev.Process != nil {
			return ev.Process.Comm.String()
		}
		return "-"
	}}
}

// colAct names the kind, without what all of the trace have in common.
func colAct(prefix string, width int) column {
	return column{"ACT", width, func(ev *event.Event) string { return event.Safe(strings.TrimPrefix(string(ev.Kind), prefix)) }}
}

// resultOf returns the outcome of an act, and whether the hook told it.
func resultOf(ev *event.Event) (result int, told bool) {
	switch {
	case ev.File != nil:
		return ev.File.Result, !ev.File.NoResult
	case ev.Mount != nil:
		return ev.Mount.Result, !ev.Mount.NoResult
	case ev.Net != nil:
		return ev.Net.Result, !ev.Net.NoResult
	case ev.Privilege != nil:
		return ev.Privilege.Result, !ev.Privilege.NoResult
	}
	return 0, true
}

// resultText is 0, the name of an error, or ? where the hook does not tell.
func resultText(ev *event.Event) string {
	result, told := resultOf(ev)
	switch {
	case result < 0:
		return errorName(result)
	case !told:
		return "?"
	}
	return strconv.Itoa(result)
}

func colErr() column { return column{"ERR", 6, resultText} }

// fileText, netText, dnsText and privText make values of the parts of an event; - where an
// event has no such part.
func fileText(f func(*event.FileAct) string) func(*event.Event) string {
	return func(ev *event.Event) string {
		if ev.File == nil {
			return "-"
		}
		return f(ev.File)
	}
}

func netText(f func(*event.Net) string) func(*event.Event) string {
	return func(ev *event.Event) string {
		if ev.Net == nil {
			return "-"
		}
		return f(ev.Net)
	}
}

func dnsText(f func(*event.DNS) string) func(*event.Event) string {
	return func(ev *event.Event) string {
		if ev.DNS == nil {
			return "-"
		}
		return f(ev.DNS)
	}
}

func privText(f func(*event.Privilege) string) func(*event.Event) string {
	return func(ev *event.Event) string {
		if ev.Privilege == nil {
			return "-"
		}
		return f(ev.Privilege)
	}
}

// colWhat is what happened, as events -f tells it, without the actor.
func colWhat() column {
	return column{"WHAT", 0, func(ev *event.Event) string {
		what, note := describeAct(ev)
		return strings.TrimSpace(what + "  " + note)
	}}
}

// ipVersion is 4 or 6, as the bcc tools show it.
func ipVersion(n *event.Net) string {
	addr := n.RemoteAddr
	if addr == "" {
		addr = n.LocalAddr
	}
	if a, err := netip.ParseAddr(addr); err == nil && a.Is6() && !a.Is4In6() {
		return "6"
	}
	return "4"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return event.Safe(s)
}

func port(n uint16) string { return strconv.Itoa(int(n)) }

func millis(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond)) }

func kilobytes(n uint64) string { return strconv.FormatUint((n+512)/1024, 10) }

// openFlags names flags of open(2), as they are on this architecture.
func openFlags(flags uint32) string {
	names := []string{[4]string{"O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"}[flags&syscall.O_ACCMODE]}
	for _, f := range []struct {
		bit  uint32
		name string
	}{
		{syscall.O_CREAT, "O_CREAT"}, {syscall.O_EXCL, "O_EXCL"}, {syscall.O_NOCTTY, "O_NOCTTY"}, {syscall.O_TRUNC, "O_TRUNC"},
		{syscall.O_APPEND, "O_APPEND"}, {syscall.O_NONBLOCK, "O_NONBLOCK"}, {syscall.O_SYNC, "O_SYNC"}, {syscall.O_DIRECTORY, "O_DIRECTORY"},
		{syscall.O_NOFOLLOW, "O_NOFOLLOW"}, {syscall.O_CLOEXEC, "O_CLOEXEC"}, {syscall.O_DIRECT, "O_DIRECT"}, {0x200000, "O_PATH"},
	} {
		if flags&f.bit == f.bit {
			names = append(names, f.name)
			flags &^= f.bit
		}
	}
	return strings.Join(names, "|")
}
