package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/merlon/merlon/internal/api"
)

func logLevelCommand(e *env) *cobra.Command {
	c := &cobra.Command{
		Use: "log-level [LEVEL]", Short: "Print or change how much the agent logs",
		Long:    "Print the level of the running agent's log, or change it: debug, info, warn or\nerror. The change lasts until the agent stops.",
		Example: "  sudo merlon log-level debug",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return &usageError{fmt.Errorf("%s takes one level", c.CommandPath())}
			}
			return nil
		},
		ValidArgs: []string{"debug", "info", "warn", "error"},
		RunE: func(c *cobra.Command, args []string) error {
			cl := e.client()
			defer cl.Close()
			if len(args) == 1 {
				if err := cl.SetLogLevel(c.Context(), args[0]); err != nil {
					return err
				}
			}
			level, err := cl.LogLevel(c.Context())
			if err != nil {
				return err
			}
			if e.json {
				return e.out.json(api.LogLevel{Level: level})
			}
			e.out.line(safeLines(level))
			return nil
		},
	}
	jsonFlag(e, c)
	socketFlag(e, c)
	return c
}
