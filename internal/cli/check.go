package cli

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/merlon/merlon/internal/app"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

func checkCommand(e *env) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "check", Short: "Prove what this kernel lets Merlon do, and say why not more", Args: noArgs,
		Long: `Try every feature on this kernel: attach its hooks, drive them, detach them. For
each feature the table says which mechanism works (tier), what it promises
(guarantee), why there is nothing better, and what would cure that.

  prevent   the act has no effect
  react     its actor is stopped, or its effect cut, just after
  observe   it is only reported
  absent    nothing on this kernel does it

Exits with 1 when the agent could not run at all.`,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(file)
			if err != nil {
				return err
			}
			checked, err := app.Check(c.Context(), cfg, slog.New(slog.DiscardHandler))
			if err != nil {
				return e.cannotCheck(err)
			}
			return e.printCheck(checked)
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration file (for kernel.btf)")
	jsonFlag(e, c)
	return c
}

// cannotCheck tells why nothing could be tried.
func (e *env) cannotCheck(err error) error {
	if !e.json || errors.Is(err, context.Canceled) {
		return err
	}
	failure := struct {
		Error string `json:"error"`
		Cure  string `json:"cure,omitempty"`
	}{Error: err.Error()}
	var ke *kernel.Error
	if errors.As(err, &ke) {
		failure.Error, failure.Cure = ke.Op+": "+ke.Cause, ke.Cure
	}
	if err := e.out.json(failure); err != nil {
		return err
	}
	return errSilent
}

func (e *env) printCheck(checked *app.Checked) error {
	if e.json {
		if err := e.out.json(checked); err != nil {
			return err
		}
	} else {
		e.out.environment(checked.Environment)
		e.out.line("")
		e.out.featureTable(checked.Features, true)
	}
	if checked.Runnable() {
		return nil
	}
	if !e.json {
		e.out.line("")
		for _, f := range checked.Features {
			if f.Essential && f.Guarantee == event.Absent {
				e.out.line(e.out.red("The agent can't run here without: " + event.Safe(f.Name)))
			}
		}
		e.out.line("See it work in a virtual machine: make demo")
	}
	return errSilent
}
