package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/merlon/merlon/internal/api/client"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/kinds"
)

func eventsCommand(e *env) *cobra.Command {
	var q client.Query
	var format string
	var fields bool
	c := &cobra.Command{
		Use: "events", Short: "Print what happens on this host", Args: noArgs,
		Long: `Print the last events of a running agent, and with -f those that follow. Without
--kind these are the kinds that the configuration names (events.kinds). With -f
and --kind the agent attaches what those kinds need, and lets it go again at the
end; merlon trace shows one thing in columns.

A filter is an expression of CEL (https://cel.dev) over the fields of the JSON
form; --fields lists them. What a process wrote (paths, arguments, names) is
printed with control characters escaped.`,
		Example: `  merlon events -f --kind exec
  merlon events -f --kind 'file_*,mount'
  merlon events -f --filter 'process.exe.startsWith("/tmp/")'
  merlon events -n 100 --filter 'process.ancestors.exists(p, p.comm == "sshd")' -o json`,
		RunE: func(c *cobra.Command, _ []string) error {
			if fields {
				return e.printFields()
			}
			if !slices.Contains([]string{"pretty", "json"}, format) {
				return &usageError{fmt.Errorf("-o is pretty or json, not %q", format)}
			}
			if q.Last < -1 {
				return &usageError{errors.New("-n is a number from 0, or -1 for all")}
			}
			if _, err := kinds.Expand(q.Kinds); err != nil {
				return &usageError{err}
			}
			cl := e.client()
			defer cl.Close()
			show := e.showEvent
			if e.json || format == "json" {
				show = e.showJSON
			}
			err := cl.Events(c.Context(), q, show)
			if err == nil && q.Follow && c.Context().Err() == nil {
				return &client.Error{Msg: "the agent has stopped", Cure: "start it again with `sudo merlon run`"}
			}
			return err
		},
	}
	c.Flags().BoolVarP(&q.Follow, "follow", "f", false, "go on with the events to come")
	c.Flags().IntVarP(&q.Last, "last", "n", 20, "how many of the past; -1 for all that the agent keeps")
	c.Flags().StringSliceVar(&q.Kinds, "kind", nil, "only these kinds: names, or patterns like file_*, or all")
	c.Flags().StringVar(&q.Filter, "filter", "", "only events for which this CEL expression is true")
	c.Flags().StringVarP(&format, "output", "o", "pretty", "pretty or json")
	c.Flags().BoolVar(&fields, "fields", false, "list the fields of events and end")
	jsonFlag(e, c)
	socketFlag(e, c)
	completeKinds(c)
	return c
}

func kindList() string {
	names := make([]string, 0, 8)
	for _, k := range event.Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

func completeKinds(c *cobra.Command) {
	_ = c.RegisterFlagCompletionFunc("kind", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return strings.Split(kindList(), ", "), cobra.ShellCompDirectiveNoFileComp
	}) // fails only for a flag that isn't there
}

// showJSON passes a line on.
func (e *env) showJSON(line []byte) error {
	e.out.line(safeJSON(line))
	return e.out.flush()
}

// showEvent prints a line of the event stream for a person. What the agent
// tells about the stream itself goes to standard error.
func (e *env) showEvent(line []byte) error {
	ev, err := client.DecodeEvent(line)
	var told *client.Error
	if errors.As(err, &told) {
		e.explain(told)
		return nil
	}
	if err != nil {
		return err
	}
	e.out.line(e.out.eventLine(ev))
	return e.out.flush()
}
