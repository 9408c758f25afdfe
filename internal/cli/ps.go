package cli

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/merlon/merlon/internal/api/client"
	"github.com/merlon/merlon/internal/event"
)

func psCommand(e *env) *cobra.Command {
	var args bool
	c := &cobra.Command{
		Use: "ps", Short: "Print the processes as a tree, with users and containers", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl := e.client()
			defer cl.Close()
			if e.json {
				return cl.Processes(c.Context(), e.showJSON)
			}
			var list []*event.Process
			err := cl.Processes(c.Context(), func(line []byte) error {
				p, err := client.DecodeProcess(line)
				list = append(list, p)
				return err
			})
			if err != nil {
				return err
			}
			for _, line := range e.out.tree(list, args) {
				e.out.line(line)
			}
			return nil
		},
	}
	c.Flags().BoolVarP(&args, "args", "a", true, "show arguments (--args=false: only the program)")
	jsonFlag(e, c)
	socketFlag(e, c)
	return c
}

// maxIndent bounds the drawn depth of the tree.
const maxIndent = 40

// tree draws processes below their parents. A process whose parent is not in
// the list stands at the left.
func (p *printer) tree(list []*event.Process, args bool) []string {
	children := map[event.Key][]*event.Process{}
	known := map[event.Key]bool{}
	for _, pr := range list {
		known[pr.Key()] = true
	}
	var roots []*event.Process
	for _, pr := range list {
		if parent := pr.ParentKey(); known[parent] && parent != pr.Key() {
			children[parent] = append(children[parent], pr)
		} else {
			roots = append(roots, pr)
		}
	}
	d := &drawing{p: p, children: children, args: args, drawn: map[event.Key]bool{}}
	for _, c := range children {
		byAge(c)
	}
	byAge(roots)
	lines := []string{p.bold(pad("PID", pidWidth) + " " + pad("USER", userWidth) + " " + pad("WHERE", whereWidth) + " COMMAND")}
	for _, r := range roots {
		d.draw(r, "", "", 0)
	}
	return append(lines, d.lines...)
}

const whereWidth = 24

func byAge(list []*event.Process) {
	slices.SortFunc(list, func(a, b *event.Process) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.PID, b.PID))
	})
}

type drawing struct {
	p        *printer
	children map[event.Key][]*event.Process
	args     bool
	drawn    map[event.Key]bool
	lines    []string
}

func (d *drawing) draw(pr *event.Process, branch, below string, depth int) {
	if d.drawn[pr.Key()] {
		return
	}
	d.drawn[pr.Key()] = true
	what := pr.Exe.String()
	switch {
	case what == "" && pr.Exe == "":
		what = "[" + pr.Comm.String() + "]" // a kernel thread, or not known
	case d.args && len(pr.Args) > 1:
		what += " " + words(pr.Args[1:], 1024)
	}
	if pr.Origin == event.OriginInferred {
		what += " (its start was lost)"
	}
	width := 0
	if d.p.columns() > 0 {
		width = max(d.p.columns()-pidWidth-userWidth-whereWidth-3-columns(branch), 10)
	}
	d.lines = append(d.lines, pad(strconv.FormatUint(uint64(pr.PID), 10), pidWidth)+" "+d.p.userColour(pr, pad(userOf(pr), userWidth))+" "+
		d.p.dim(pad(placeOf(pr), whereWidth))+" "+d.p.dim(branch)+strings.TrimRight(fit(what, width), " "))
	kids := d.children[pr.Key()]
	for i, k := range kids {
		b, next := below+"├─ ", below+"│  "
		if i == len(kids)-1 {
			b, next = below+"└─ ", below+"   "
		}
		if depth >= maxIndent {
			b, next = below, below
		}
		d.draw(k, b, next, depth+1)
	}
}
