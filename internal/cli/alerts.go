package cli

import (
	"github.com/spf13/cobra"

	"github.com/merlon/merlon/internal/api/client"
	"github.com/merlon/merlon/internal/event"
)

func alertsCommand(e *env) *cobra.Command {
	var q client.Query
	c := &cobra.Command{
		Use: "alerts", Short: "Print what is wrong on this host", Args: noArgs,
		Long: `Print the last alerts, and with -f those that follow. An alert that goes on is
told again, with its count.`,
		Example: "  merlon alerts -f",
		RunE: func(c *cobra.Command, _ []string) error {
			cl := e.client()
			defer cl.Close()
			show := e.showAlert
			if e.json {
				show = e.showJSON
			}
			shown := 0
			err := cl.Alerts(c.Context(), q, func(line []byte) error {
				shown++
				return show(line)
			})
			if err == nil && q.Follow && c.Context().Err() == nil {
				return &client.Error{Msg: "the agent has stopped", Cure: "start it again with `sudo merlon run`"}
			}
			if err == nil && shown == 0 && !e.json && !q.Follow {
				e.out.line("no alerts")
			}
			return err
		},
	}
	c.Flags().BoolVarP(&q.Follow, "follow", "f", false, "go on with the alerts to come")
	c.Flags().IntVarP(&q.Last, "last", "n", 100, "how many of the past")
	jsonFlag(e, c)
	socketFlag(e, c)
	return c
}

// showAlert prints a line of the alert stream for a person.
func (e *env) showAlert(line []byte) error {
	a, loss, err := client.DecodeAlert(line)
	if err != nil {
		return err
	}
	if loss != nil {
		e.out.line(e.out.eventLine(&event.Event{Kind: event.KindLoss, Loss: loss}))
	} else {
		e.out.line(e.out.alertBlock(a))
	}
	return e.out.flush()
}
