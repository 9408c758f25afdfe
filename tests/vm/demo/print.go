package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/tests/vm/demo/report"
)

// printer writes for a person. Text from the machine goes through event.Safe.
type printer struct {
	w     io.Writer
	color bool
}

const (
	bold   = "1"
	red    = "1;31"
	green  = "32"
	yellow = "33"
	dim    = "2"
)

func (p *printer) paint(code, s string) string {
	if !p.color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p *printer) step(format string, args ...any) {
	fmt.Fprintln(p.w, p.paint(bold, "==> ")+event.Safe(fmt.Sprintf(format, args...)))
}

func (p *printer) lines(lines []string) {
	for _, l := range lines {
		fmt.Fprintln(p.w, "    "+event.Safe(strings.TrimRight(l, "\r")))
	}
}

func (p *printer) ready(r report.Record) {
	p.step("The agent runs. What it can do on this kernel (merlon check):")
	p.lines(r.Lines)
	p.step("Attacks")
}

func (p *printer) attack(n int, r report.Record) {
	fmt.Fprintf(p.w, "\n%s %s\n", p.paint(bold, fmt.Sprintf("%d. %s", n, event.Safe(r.Title))), p.paint(dim, "("+event.Safe(r.Did)+")"))
	if r.Problem != "" {
		fmt.Fprintf(p.w, "   %s %s\n", p.paint(red, "problem:"), event.Safe(r.Problem))
	}
	for _, a := range r.Alerts {
		p.alert(a)
	}
	switch {
	case r.Rule == "" && r.OK():
		fmt.Fprintf(p.w, "   %s\n", p.paint(green, "no alert, as it should be"))
	case r.Rule == "":
		fmt.Fprintf(p.w, "   %s nothing should be alerted here\n", p.paint(red, "false alarm:"))
	case !r.OK():
		fmt.Fprintf(p.w, "   %s no alert of %s\n", p.paint(red, "missed:"), event.Safe(r.Rule))
	}
}

func (p *printer) alert(a event.Alert) {
	mark := p.paint(severityColor(a.Rule.Severity), event.Safe(strings.ToUpper(string(a.Rule.Severity))))
	fmt.Fprintf(p.w, "   %s %s: %s\n", mark, event.Safe(a.Rule.ID), event.Safe(a.Reason))
	for _, e := range a.Evidence {
		note := ""
		if e.Source == "user" {
			note = p.paint(dim, " (evidence from user memory)")
		}
		fmt.Fprintf(p.w, "      %s = %s%s\n", event.Safe(e.Field), e.Value, note)
	}
	if a.Process != nil {
		fmt.Fprintf(p.w, "      %s\n", p.paint(dim, "by "+lineage(a.Process)))
	}
}

func severityColor(s event.Severity) string {
	if s.Rank() >= event.SeverityHigh.Rank() {
		return red
	}
	return yellow
}

// lineage is a process and its ancestors, nearest first.
func lineage(p *event.Process) string {
	var b strings.Builder
	name := func(p *event.Process) {
		exe := p.Exe
		if exe == "" {
			exe = p.Comm
		}
		fmt.Fprintf(&b, "%s[%d]", exe, p.PID)
	}
	name(p)
	for a := range p.Ancestors {
		b.WriteString(" < ")
		name(a)
	}
	return b.String()
}

// table prints one line for each case and the verdict, and returns how many
// cases went wrong.
func (p *printer) table(cases []report.Record) (wrong int) {
	fmt.Fprintln(p.w)
	t := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "case\trule\tseverity\tresult\n")
	for _, r := range cases {
		rule, severity, result := r.Rule, "-", "seen"
		if rule == "" {
			rule, result = "-", "quiet"
		}
		if a := r.Seen(); a != nil {
			severity = string(a.Rule.Severity)
		}
		if !r.OK() {
			result = "WRONG"
			wrong++
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", event.Safe(r.Title), event.Safe(rule), event.Safe(severity), result)
	}
	t.Flush()
	verdict, code := "the agent saw every attack and nothing else", green
	if wrong > 0 {
		verdict, code = fmt.Sprintf("the agent was wrong in %d of %d cases", wrong, len(cases)), red
	}
	fmt.Fprintf(p.w, "\n%s\n", p.paint(code, verdict))
	return wrong
}
