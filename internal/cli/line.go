package cli

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/merlon/merlon/internal/event"
)

// Widths of the columns of an event's line.
const (
	timeWidth = 12
	kindWidth = 6 // at least: grows with the kinds that are met
	mostKind  = 14
	pidWidth  = 7
	userWidth = 10
)

// eventLine writes an event as one line.
func (p *printer) eventLine(ev *event.Event) string {
	kind := fit(event.Safe(string(ev.Kind)), mostKind)
	what, note := p.describe(ev)
	pid, user, where := "", "", ""
	if pr := ev.Process; pr != nil {
		pid, user = strconv.FormatUint(uint64(pr.PID), 10), userOf(pr)
		if pr.Parent != nil && ev.Kind == event.KindExec {
			where = "← " + commandOf(pr.Parent)
		}
		if place := placeOf(pr); place != "" {
			where = strings.TrimSpace(where + "  " + place)
		}
	}
	wide := p.kindColumn(kind)
	if p.columns() > 0 {
		what, note, where = share(what, note, where, p.columns()-timeWidth-wide-pidWidth-userWidth-4)
	}
	var b strings.Builder
	b.WriteString(p.dim(ev.Time.Local().Format("15:04:05.000")))
	b.WriteByte(' ')
	b.WriteString(p.kindColour(ev.Kind)(pad(kind, wide)))
	b.WriteByte(' ')
	fmt.Fprintf(&b, "%*s ", pidWidth, pid)
	b.WriteString(p.userColour(ev.Process, pad(user, userWidth)))
	b.WriteByte(' ')
	b.WriteString(p.whatColour(ev.Kind, what))
	if note != "" {
		b.WriteString("  " + p.yellow(note))
	}
	if where != "" {
		b.WriteString("  " + p.dim(where))
	}
	return b.String()
}

// kindColumn returns how wide the column of kinds is, this one included.
func (p *printer) kindColumn(kind string) int {
	for {
		wide := p.kinds.Load()
		if need := int32(max(kindWidth, columns(kind))); need <= wide {
			return int(wide)
		} else if p.kinds.CompareAndSwap(wide, need) {
			return int(need)
		}
	}
}

// share cuts the three parts of a line so that they and the two spaces between
// them fit into room columns: what happened gets the most.
func share(what, note, where string, room int) (string, string, string) {
	if room < 50 {
		where = ""
	}
	if room < 30 {
		note = ""
	}
	used := 0
	for _, part := range []*string{&note, &where} {
		if *part != "" {
			*part = fit(*part, room/3)
			used += columns(*part) + 2
		}
	}
	return fit(what, max(room-used, 1)), note, where
}

func (p *printer) kindColour(k event.Kind) func(string) string {
	switch k {
	case event.KindExec:
		return p.green
	case event.KindFork:
		return p.blue
	case event.KindLoss:
		return p.red
	case event.KindCgroup:
		return p.magenta
	case event.KindExit:
		return p.dim
	}
	switch about(k).Sensor {
	case "network", "dns":
		return p.cyan
	case "privilege":
		return p.yellow
	}
	return p.dim
}

func (p *printer) whatColour(k event.Kind, s string) string {
	switch k {
	case event.KindExec:
		return p.bold(s)
	case event.KindLoss:
		return p.red(s)
	}
	return s
}

func (p *printer) userColour(pr *event.Process, s string) string {
	if pr != nil && pr.Creds.EUID == 0 {
		return p.yellow(s)
	}
	return p.cyan(s)
}

// describe says what happened, and what is unusual about it. Both hold no
// control characters.
func (p *printer) describe(ev *event.Event) (what, note string) {
	switch ev.Kind {
	case event.KindExec:
		return describeExec(ev)
	case event.KindExit:
		return describeExit(ev)
	case event.KindFork:
		what = "new process"
		if ev.Process != nil && ev.Process.Parent != nil {
			what = "forked by " + commandOf(ev.Process.Parent) + " " + strconv.FormatUint(uint64(ev.Process.PPID), 10)
		}
		return what, ""
	case event.KindLoss:
		if l := ev.Loss; l != nil {
			return fmt.Sprintf("%s %s events lost: %s, %s", countText(l.Count), event.Safe(string(l.Of)), event.Safe(l.Stage), event.Safe(strings.ReplaceAll(l.Reason, "_", " "))), ""
		}
	case event.KindCgroup:
		if c := ev.Cgroup; c != nil {
			return event.Safe(c.Op) + " " + c.Path.String(), ""
		}
	}
	what, note = describeAct(ev)
	if comm := actorOf(ev); comm != "" && what != "" {
		what = comm + ": " + what
	}
	return what, note
}

// describeAct does the same for what a thread did, without the actor.
func describeAct(ev *event.Event) (what, note string) {
	switch {
	case ev.File != nil:
		return describeFile(ev.Kind, ev.File)
	case ev.Mount != nil:
		return describeMount(ev.Kind, ev.Mount)
	case ev.Net != nil:
		return describeNet(ev.Kind, ev.Net)
	case ev.DNS != nil:
		return describeDNS(ev.DNS)
	case ev.Privilege != nil:
		return describePrivilege(ev.Kind, ev.Privilege)
	}
	return "", ""
}

// actorOf names what acted, as the thread calls itself.
func actorOf(ev *event.Event) string {
	if ev.Thread.Comm != "" {
		return ev.Thread.Comm.String()
	}
	if ev.Process != nil {
		return commandOf(ev.Process)
	}
	return ""
}

// about returns what a kind is; empty for one that is unknown.
func about(k event.Kind) event.About {
	for _, a := range event.Abouts() {
		if a.Kind == k {
			return a
		}
	}
	return event.About{}
}

// shownArgs is how many bytes of an argument vector a line may show where the
// terminal sets no limit.
const shownArgs = 4096

func describeExec(ev *event.Event) (what, note string) {
	var exe event.Text
	if ev.Process != nil {
		exe = ev.Process.Exe
		note = strings.Join(marks(ev), " ")
	}
	if note != "" {
		note = "[" + note + "]"
	}
	x := ev.Exec
	if x == nil {
		return exe.String(), note
	}
	what = exe.String()
	if what == "" {
		what = x.Filename.String()
	}
	if len(x.Args) > 1 {
		what += " " + words(x.Args[1:], shownArgs)
	}
	if x.Script != "" {
		note = strings.TrimSpace("script " + x.Script.String() + " " + note)
	}
	return what, note
}

func describeExit(ev *event.Event) (what, note string) {
	name := ""
	if ev.Process != nil {
		name = commandOf(ev.Process) + " "
	}
	x := ev.Exit
	if x == nil {
		return name + "ended", ""
	}
	if x.Signal != 0 {
		what = name + "killed by " + signalName(x.Signal)
		if x.Core {
			what += ", core dumped"
		}
	} else {
		what = name + "exit " + strconv.Itoa(x.Code)
	}
	what += fmt.Sprintf("  after %s, %s CPU, %s", span(x.Lifetime), span(x.CPU), bytesText(x.PeakRSS))
	return what, ""
}

func signalName(n int) string {
	names := map[int]string{1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
		9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS"}
	if s, ok := names[n]; ok {
		return s
	}
	return "signal " + strconv.Itoa(n) + " (" + syscall.Signal(n).String() + ")"
}

// alertBlock writes an alert as a few lines that stand out.
func (p *printer) alertBlock(a *event.Alert) string {
	bar := p.severity(a.Rule.Severity, "▌")
	head := bar + " " + p.severity(a.Rule.Severity, " "+strings.ToUpper(event.Safe(string(a.Rule.Severity)))+" ") + " " +
		p.bold(event.Safe(a.Rule.Title)) + "  " + p.dim(a.Last.Local().Format(time.DateTime))
	if a.Count > 1 {
		head += "  " + p.bold("×"+countText(a.Count))
	}
	lines := []string{head, "  " + event.Safe(a.Reason)}
	if pr := a.Process; pr != nil {
		where := ""
		if place := placeOf(pr); place != "" {
			where = "  in " + place
		}
		lines = append(lines, "  "+userOf(pr)+"  "+lineage(pr, 6)+where)
	}
	var ev []string
	for _, e := range a.Evidence {
		mark := ""
		if e.Source == "user" {
			mark = "*"
		}
		ev = append(ev, event.Safe(e.Field)+mark+"="+fit(e.Value.String(), 80))
	}
	if len(ev) > 0 {
		lines = append(lines, "  "+strings.Join(ev, "  "))
	}
	rule := "  rule " + event.Safe(a.Rule.ID)
	if len(a.Rule.Attack) > 0 {
		rule += "  ATT&CK " + event.Safe(strings.Join(a.Rule.Attack, ", "))
	}
	if a.UserMemory {
		rule += "  * evidence from user memory: the process could have changed it"
	}
	lines = append(lines, rule)
	for i := 1; i < len(lines); i++ {
		lines[i] = fit(lines[i], p.columns()-2)
		if i == len(lines)-1 {
			lines[i] = p.dim(lines[i])
		}
		lines[i] = bar + lines[i]
	}
	return strings.Join(lines, "\n")
}

func (p *printer) severity(s event.Severity, text string) string {
	switch s {
	case event.SeverityCritical, event.SeverityHigh:
		return p.alarm(text)
	case event.SeverityMedium:
		return p.paint("1;30;43", text)
	}
	return p.paint("1;30;46", text)
}
