package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/merlon/merlon/internal/api"
	"github.com/merlon/merlon/internal/event"
)

func statusCommand(e *env) *cobra.Command {
	var cost time.Duration
	c := &cobra.Command{
		Use: "status", Short: "Print how the agent is: rates, losses, memory, cost, what doesn't work", Args: noArgs,
		Long: `Print how the running agent is. What its BPF programs cost is measured by the
kernel for the time of --cost, and only then: the measurement itself costs some
nanoseconds for each run of every BPF program of this host.`,
		RunE: func(c *cobra.Command, _ []string) error {
			cl := e.client()
			defer cl.Close()
			st, err := cl.Status(c.Context(), cost)
			if err != nil {
				return err
			}
			if e.json {
				return e.out.json(st)
			}
			e.out.status(st)
			return nil
		},
	}
	c.Flags().DurationVar(&cost, "cost", time.Second, "how long to measure the programs' cost; 0 leaves it out")
	jsonFlag(e, c)
	socketFlag(e, c)
	return c
}

func (p *printer) status(st *api.Status) {
	p.linef("%s  %s  pid %d  up %s  %s", p.bold("merlon "+event.Safe(st.Version)), "Linux "+event.Safe(st.Kernel)+" "+st.Arch, st.PID,
		span(time.Duration(st.Uptime*float64(time.Second))), p.health(st))
	p.linef("memory  %s anonymous (heap %s, soft limit %s), %s of the binary and the mapped rings", p.bold(bytesText(st.Memory.Anon)),
		bytesText(st.Memory.Heap), bytesText(st.Memory.Limit), bytesText(st.Memory.File+st.Memory.Shmem))
	p.linef("cpu     %s since the start (%.2f%% of a core)", span(time.Duration(st.CPU*float64(time.Second))), 100*st.CPU/max(st.Uptime, 0.001))
	p.linef("queue   %s of %s   clients %d", bytesText(uint64(st.Queue.Depth)), bytesText(uint64(st.Queue.Limit)), st.Clients)
	p.line("")
	p.statusEvents(st)
	p.statusNeeds(st)
	p.statusTables(st)
	p.statusPrograms(st)
	if len(st.Degraded) > 0 {
		p.line(p.bold("degraded"))
		for _, d := range st.Degraded {
			p.line("  " + p.red("✗") + " " + p.bold(event.Safe(d.Part)) + p.dim(" since "+d.Since.Local().Format(time.DateTime)))
			p.wrapped("      why: ", event.Safe(d.Reason))
			if d.Cure != "" {
				p.wrapped("     cure: ", event.Safe(d.Cure))
			}
		}
	}
}

func (p *printer) health(st *api.Status) string {
	if len(st.Degraded) == 0 {
		return p.green("healthy")
	}
	return p.red(fmt.Sprintf("degraded: %d parts", len(st.Degraded)))
}

func (p *printer) statusEvents(st *api.Status) {
	rows := [][]string{{"EVENTS", "COUNT", "NOW", "LOST"}}
	lost := map[event.Kind]uint64{}
	for _, l := range st.Losses {
		lost[l.Kind] += l.Count
	}
	asked := map[event.Kind]bool{}
	for _, n := range st.Needs {
		asked[n.Kind] = len(n.Askers) > 0
	}
	for _, k := range st.Events {
		if k.Count == 0 && lost[k.Kind] == 0 && !asked[k.Kind] {
			continue // nobody asks for it
		}
		rows = append(rows, []string{string(k.Kind), countText(k.Count), rateText(k.PerSecond), countText(lost[k.Kind])})
	}
	p.rows(rows)
	for _, l := range st.Losses {
		p.line(p.red(fmt.Sprintf("  lost %s %s: %s, %s", countText(l.Count), event.Safe(string(l.Kind)), event.Safe(l.Stage), event.Safe(strings.ReplaceAll(l.Reason, "_", " ")))))
	}
	for _, f := range st.Faults {
		p.line(p.dim(fmt.Sprintf("  %s %s without a part: %s", countText(f.Count), event.Safe(string(f.Kind)), event.Safe(strings.ReplaceAll(f.Reason, "_", " ")))))
	}
	p.line("")
	if len(st.Alerts) > 0 {
		rows = [][]string{{"ALERTS", "COUNT", "SEVERITY"}}
		for _, a := range st.Alerts {
			rows = append(rows, []string{event.Safe(a.Rule), countText(a.Count), string(a.Severity)})
		}
		p.rows(rows)
		p.line("")
	}
}

// statusNeeds tells who asks for which kinds, and which hooks serve them.
func (p *printer) statusNeeds(st *api.Status) {
	rows := [][]string{{"KIND", "BY", "ASKED FOR BY"}}
	for _, n := range st.Needs {
		if len(n.Askers) > 0 {
			rows = append(rows, []string{string(n.Kind), servedBy(&n), askersText(n.Askers)})
		}
	}
	p.fitted(rows)
	if len(st.Paths) > 0 {
		p.line("")
		rows = [][]string{{"READS OF", "ASKED FOR BY"}}
		for _, w := range st.Paths {
			rows = append(rows, []string{event.Safe(w.Path), askersText(w.Askers)})
		}
		p.fitted(rows)
	}
	if len(st.Syscalls) > 0 {
		p.line("")
		p.line(p.red("  profile: full costs 22 ns and more on every system call of this host, for these hooks:"))
		for _, h := range st.Syscalls {
			p.line("    " + event.Safe(h))
		}
	}
	p.line("")
}

// servedBy names the mechanism that reports a kind, or says that none does.
func servedBy(n *api.Need) string {
	if !n.On {
		return "nothing here"
	}
	for _, t := range n.Tiers {
		if t.Tier != "" {
			return event.Safe(t.Tier)
		}
	}
	return event.Safe(strings.Join(n.Sensors, ", "))
}

// askersText lists who asks, each once with how often.
func askersText(askers []string) string {
	var names []string
	count := map[string]int{}
	for _, a := range askers {
		if count[a]++; count[a] == 1 {
			names = append(names, a)
		}
	}
	for i, name := range names {
		if count[name] > 1 {
			names[i] = fmt.Sprintf("%s ×%d", name, count[name])
		}
	}
	return event.Safe(strings.Join(names, ", "))
}

func (p *printer) statusTables(st *api.Status) {
	rows := [][]string{{"TABLE", "ENTRIES", "LIMIT"}}
	for _, t := range st.Tables {
		rows = append(rows, []string{event.Safe(t.Name), countText(uint64(max(t.Count, 0))), countText(uint64(max(t.Limit, 0)))})
	}
	for _, m := range st.Maps {
		if m.Entries < 0 {
			continue // an array: always full
		}
		rows = append(rows, []string{"map " + event.Safe(m.Name), countText(uint64(m.Entries)), countText(uint64(m.Max))})
	}
	p.rows(rows)
	p.line("")
}

func (p *printer) statusPrograms(st *api.Status) {
	p.rows(programRows(st))
	if st.CostOver > 0 {
		p.line(p.dim(fmt.Sprintf("  measured over %.1f s", st.CostOver)))
	}
	p.line("")
}

// programRows lists the programs, those without a hook last.
func programRows(st *api.Status) [][]string {
	head := []string{"PROGRAM", "HOOK", "VERIFIED"}
	if st.CostOver > 0 {
		head = append(head, "RUNS", "EACH", "OF A CORE")
	}
	rows := [][]string{head}
	for _, q := range attachedFirst(st.Programs) {
		hook := "-" // loaded for when somebody asks
		if q.Attached {
			hook = event.Safe(q.Hook)
		}
		row := []string{event.Safe(q.Name), hook, countText(uint64(q.Verified))}
		if st.CostOver > 0 {
			row = append(row, rateText(q.Rate), span(time.Duration(q.Average)), fmt.Sprintf("%.3f%%", q.Core))
		}
		rows = append(rows, row)
	}
	return rows
}

// attachedFirst lists the programs that are attached, then those that are only
// loaded.
func attachedFirst(list []api.Program) []api.Program {
	rank := func(q api.Program) int {
		if q.Attached {
			return 0
		}
		return 1
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b api.Program) int { return rank(a) - rank(b) })
	return list
}

// fitted prints a table whose last column is cut to the terminal's width.
func (p *printer) fitted(rows [][]string) {
	for i, line := range table(rows, nil) {
		line = fit(line, p.columns())
		if i == 0 {
			line = p.bold(line)
		}
		p.line(line)
	}
}

// rows prints a table whose first row is its head.
func (p *printer) rows(rows [][]string) {
	for _, line := range table(rows, func(r, _ int, cell string) string {
		if r == 0 {
			return p.bold(cell)
		}
		return cell
	}) {
		p.line(line)
	}
}
