// Package cli is Merlon's command line. run and check work by themselves; the
// other commands ask a running agent through its socket.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/merlon/merlon/internal/api/client"
	"github.com/merlon/merlon/internal/config"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
	"github.com/merlon/merlon/internal/match/near"
)

// errSilent ends a command with exit code 1 when all has been said.
var errSilent = errors.New("said already")

// env is what commands share: where they print, and the flags of all.
type env struct {
	build  Build
	out    *printer
	stderr io.Writer
	socket string // --socket, empty when not given
	json   bool   // --json
}

// Main runs the command line args and returns the exit code: 0 for success, 1
// for failure, 2 for a command line that makes no sense.
func Main(b Build, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the process at once
	}()
	e := &env{build: b, out: newPrinter(os.Stdout), stderr: os.Stderr}
	defer e.out.follow(ctx)()
	root := newRoot(e)
	root.SetArgs(args)
	root.SetOut(os.Stdout)
	root.SetErr(os.Stderr)
	return e.finish(root.ExecuteContext(ctx))
}

// usageError is a mistake in the command line.
type usageError struct{ err error }

func (u *usageError) Error() string { return u.err.Error() }

// finish tells err and returns the exit code.
func (e *env) finish(err error) int {
	ferr := e.out.flush()
	if err == nil {
		err = ferr
	}
	var usage *usageError
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, syscall.EPIPE):
		return 0
	case errors.Is(err, errSilent):
		return 1
	case errors.As(err, &usage):
		fmt.Fprintf(e.stderr, "merlon: %s\n", safeLines(err.Error()))
		return 2
	}
	e.explain(err)
	return 1
}

// explain prints an error as its cause and its cure.
func (e *env) explain(err error) {
	cause, cure := err.Error(), ""
	var ke *kernel.Error
	var ce *client.Error
	var ge config.Errors
	switch {
	case errors.As(err, &ke):
		cause, cure = ke.Op+": "+ke.Cause, ke.Cure
	case errors.As(err, &ce):
		cause, cure = ce.Msg, ce.Cure
	case errors.As(err, &ge):
		cause, cure = "the configuration has mistakes:\n  "+strings.ReplaceAll(ge.Error(), "\n", "\n  "), "`merlon config print` shows every key with its default"
	}
	paint := newPainter(e.stderr)
	fmt.Fprintf(e.stderr, "%s %s\n", paint.red("merlon:"), safeLines(cause))
	if cure != "" {
		fmt.Fprintf(e.stderr, "%s %s\n", paint.bold("  cure:"), safeLines(cure))
	}
}

// safeLines is event.Safe for text of several lines.
func safeLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = event.Safe(lines[i])
	}
	return strings.Join(lines, "\n")
}

// client makes a client for the agent behind --socket.
func (e *env) client() *client.Client {
	if e.socket != "" {
		return client.New(e.socket)
	}
	return client.New(config.Default().Socket)
}

func newRoot(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "merlon",
		Short: "Guards a Linux host from inside its kernel",
		Long: `Merlon guards a Linux host from inside its kernel: it sees what processes do,
decides what it means, and tells it truthfully, losses included.

  sudo merlon run     start the agent and watch
  merlon check        what this kernel lets it do, and why not more
  merlon events -f    what happens, from a running agent
  merlon trace dns    one thing, live
  merlon alerts -f    what is wrong`,
		SilenceErrors: true, SilenceUsage: true,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return unknownCommand(c, args[0])
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(runCommand(e), checkCommand(e), statusCommand(e), eventsCommand(e), traceCommand(e), alertsCommand(e), psCommand(e),
		configCommand(e), logLevelCommand(e), versionCommand(e), docsCommand(e))
	return root
}

func unknownCommand(c *cobra.Command, name string) error {
	var names []string
	for _, sub := range c.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name())
		}
	}
	if n, ok := near.Find(name, names); ok {
		return &usageError{fmt.Errorf("there is no command %q; did you mean %s?", name, n)}
	}
	return &usageError{fmt.Errorf("there is no command %q; `merlon help` lists them", name)}
}

func flagError(c *cobra.Command, err error) error {
	return &usageError{fmt.Errorf("%w; `%s --help` lists the flags", err, c.CommandPath())}
}

// noArgs refuses arguments, in our words.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if c.HasSubCommands() {
		return unknownCommand(c, args[0])
	}
	return &usageError{fmt.Errorf("%s takes no argument %q", c.CommandPath(), args[0])}
}

// socketFlag adds --socket.
func socketFlag(e *env, c *cobra.Command) {
	c.Flags().StringVar(&e.socket, "socket", "", "unix socket of the agent (default "+config.Default().Socket+")")
}

// jsonFlag adds --json.
func jsonFlag(e *env, c *cobra.Command) {
	c.Flags().BoolVar(&e.json, "json", false, "print JSON for programs")
}
