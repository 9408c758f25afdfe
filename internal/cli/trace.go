package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/merlon/merlon/internal/api"
	"github.com/merlon/merlon/internal/api/client"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/kinds"
	"github.com/merlon/merlon/internal/match/near"
)

func traceCommand(e *env) *cobra.Command {
	var f traceFlags
	c := &cobra.Command{
		Use: "trace WHAT", Short: "Look at one thing live: opens, connects, dns, creds and so on",
		Long: `Look at one thing live, in columns that people know from the bcc tools. WHAT is
one of those that --list shows, or a kind of events, or a pattern like file_*.

The running agent attaches what is needed for it, if that isn't attached
already, and lets it go again at the end.`,
		Example: `  merlon trace opens --path /etc/
  merlon trace connects --comm curl
  merlon trace dns -n 10
  merlon trace creds --filter 'privilege.cause == "none"'
  merlon trace 'file_*' --pid 4711 --json`,
		Args: func(c *cobra.Command, args []string) error {
			switch {
			case f.list && len(args) > 0:
				return &usageError{fmt.Errorf("%s --list takes no argument %q", c.CommandPath(), args[0])}
			case f.list || len(args) == 1:
				return nil
			}
			return &usageError{fmt.Errorf("%s takes one thing to look at; `merlon trace --list` shows them", c.CommandPath())}
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return traceNames(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			if f.list {
				e.listTraces()
				return nil
			}
			spec, err := findTrace(args[0])
			if err != nil {
				return &usageError{err}
			}
			if err := f.check(&spec); err != nil {
				return &usageError{err}
			}
			return e.trace(c, spec, &f)
		},
	}
	c.Flags().BoolVar(&f.list, "list", false, "list what can be looked at and end")
	c.Flags().IntVarP(&f.count, "count", "n", 0, "end after so many lines; 0 goes on")
	c.Flags().StringVar(&f.filter, "filter", "", "only events for which this CEL expression is true")
	c.Flags().StringVar(&f.comm, "comm", "", "only of programs with this short name")
	c.Flags().Uint32Var(&f.pid, "pid", 0, "only of this process")
	c.Flags().StringArrayVar(&f.paths, "path", nil, "for opens: show reads of this file, or with a slash at its end of all below; may be given more than once")
	jsonFlag(e, c)
	socketFlag(e, c)
	return c
}

func traceNames() []string {
	var names []string
	for _, t := range traces() {
		names = append(names, t.name)
	}
	return names
}

// findTrace returns the trace of that name, or one of kinds that have none.
func findTrace(name string) (traceSpec, error) {
	names := traceNames()
	if i := slices.Index(names, name); i >= 0 {
		return traces()[i], nil
	}
	list, err := kinds.Expand([]string{name})
	if err == nil {
		return traceSpec{name: name, kinds: list}, nil
	}
	for _, k := range event.Kinds() {
		names = append(names, string(k))
	}
	if n, ok := near.Find(name, names); ok {
		return traceSpec{}, fmt.Errorf("there is nothing called %q to look at; did you mean %s?", event.Safe(name), n)
	}
	return traceSpec{}, fmt.Errorf("there is nothing called %q to look at; `merlon trace --list` shows what there is", event.Safe(name))
}

func (e *env) listTraces() {
	if e.json {
		type one struct {
			Name  string       `json:"name"`
			About string       `json:"about"`
			Kinds []event.Kind `json:"kinds"`
		}
		list := []one{}
		for _, t := range traces() {
			list = append(list, one{t.name, t.about, t.kinds})
		}
		_ = e.out.json(list) // plain data
		return
	}
	rows := [][]string{{"TRACE", "SHOWS", "LIKE", "KINDS"}}
	for _, t := range traces() {
		rows = append(rows, []string{t.name, t.about, t.like, kindNames(t.kinds)})
	}
	e.out.rows(rows)
	e.out.line("")
	e.out.line("Any kind of events works too, and patterns like file_*: `merlon events --fields` and docs/events.md list them.")
}

func kindNames(list []event.Kind) string {
	names := make([]string, len(list))
	for i, k := range list {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}

var errEnough = errors.New("enough")

// trace follows the stream and prints it.
func (e *env) trace(c *cobra.Command, spec traceSpec, f *traceFlags) error {
	for _, p := range f.missing() {
		fmt.Fprintf(e.stderr, "nothing is at %s yet\n", event.Safe(p))
	}
	cl := e.client()
	defer cl.Close()
	q := client.Query{Paths: f.paths, Filter: f.expression(), Follow: true, Started: func() {
		if st, err := cl.Status(c.Context(), 0); err == nil {
			e.explainTrace(st, spec, f.paths)
		}
		if spec.cols != nil && !e.json {
			e.out.line(e.out.bold(traceHead(spec.cols)))
			_ = e.out.flush() // the next one tells the error
		}
	}}
	for _, k := range spec.kinds {
		q.Kinds = append(q.Kinds, string(k))
	}
	shown := 0
	err := cl.Events(c.Context(), q, func(line []byte) error {
		ev, err := client.DecodeEvent(line)
		var told *client.Error
		if errors.As(err, &told) {
			e.explain(told)
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case e.json:
			e.out.line(safeJSON(line))
		case spec.cols == nil || ev.Kind == event.KindLoss:
			e.out.line(e.out.eventLine(ev))
		default:
			e.out.line(fit(traceLine(spec.cols, ev), e.out.columns()))
		}
		if ev.Kind != event.KindLoss || slices.Contains(spec.kinds, event.KindLoss) {
			shown++
		}
		if err := e.out.flush(); err != nil {
			return err
		}
		if f.count > 0 && shown >= f.count {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	if err == nil && c.Context().Err() == nil {
		return &client.Error{Msg: "the agent has stopped", Cure: "start it again with `sudo merlon run`"}
	}
	return err
}

// explainTrace tells, on standard error, by which hooks the events come.
func (e *env) explainTrace(st *api.Status, spec traceSpec, paths []string) {
	paint := newPainter(e.stderr)
	say := func(format string, args ...any) {
		fmt.Fprintln(e.stderr, paint.dim(event.Safe(fmt.Sprintf(format, args...))))
	}
	hooks := map[string][]string{} // kinds by the hook that reports them
	for _, n := range st.Needs {
		if !slices.Contains(spec.kinds, n.Kind) || !n.On {
			continue
		}
		hook := strings.Join(n.Sensors, ", ")
		for _, t := range n.Tiers {
			if t.Tier != "" {
				hook = t.Tier
				break
			}
		}
		hooks[hook] = append(hooks[hook], string(n.Kind))
	}
	for _, hook := range sortedKeys(hooks) {
		say("%s by %s", strings.Join(hooks[hook], ", "), hook)
	}
	if len(st.Syscalls) > 0 {
		say("programs on tracepoints of system calls are attached: 22 ns and more on every system call of this host (profile: full)")
	}
	if slices.Contains(spec.kinds, event.KindFileOpen) && len(paths) == 0 {
		say("reads are shown of watched files only; --path /etc/ asks for more, --path / for all")
	}
}
