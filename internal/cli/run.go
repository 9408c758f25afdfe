package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/merlon/merlon/internal/api"
	"github.com/merlon/merlon/internal/app"
	"github.com/merlon/merlon/internal/config"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/kinds"
)

type runFlags struct {
	config, stateDir string
	quiet            bool
	kinds            []string
}

func runCommand(e *env) *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use: "run", Short: "Start the agent and show what it sees", Args: noArgs,
		Long: `Start the agent in the foreground: first the table of what this kernel lets it
do, then processes as they start, and alerts. Ctrl-C stops it and leaves nothing
attached, mounted or pinned that it made. A second Ctrl-C ends it at once.

Without --config the defaults are used; see merlon config print.`,
		Example: "  sudo merlon run\n  sudo merlon run --quiet --config /etc/merlon.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := f.settings(e.socket)
			if err != nil {
				return err
			}
			return e.run(c.Context(), cfg, &f)
		},
	}
	c.Flags().StringVar(&f.config, "config", "", "configuration file")
	c.Flags().StringVar(&f.stateDir, "state-dir", "", "directory of the agent's state (default "+config.Default().StateDir+")")
	c.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "print neither the table nor events nor alerts")
	c.Flags().StringSliceVar(&f.kinds, "kind", []string{"exec", "loss"}, "kinds of events to print: names, or patterns like file_*, or all")
	completeKinds(c)
	jsonFlag(e, c)
	socketFlag(e, c)
	return c
}

// settings returns the configuration with the flags in it. Paths of flags are
// relative to the working directory.
func (f *runFlags) settings(socket string) (*config.Config, error) {
	if _, err := kinds.Expand(f.kinds); err != nil {
		return nil, &usageError{err}
	}
	cfg, err := loadConfig(f.config)
	if err != nil {
		return nil, err
	}
	for key, flag := range map[*string]string{&cfg.StateDir: f.stateDir, &cfg.Socket: socket} {
		if flag == "" {
			continue
		}
		if *key, err = filepath.Abs(flag); err != nil {
			return nil, fmt.Errorf("find working directory: %w", err)
		}
	}
	return cfg, cfg.Validate()
}

// run runs the agent until ctx ends.
func (e *env) run(ctx context.Context, cfg *config.Config, f *runFlags) error {
	signal.Ignore(syscall.SIGPIPE) // a reader of our output that goes away must not end the agent half-way
	level := new(slog.LevelVar)
	_ = level.UnmarshalText([]byte(cfg.Log.Level)) // validated
	log := newLog(e.stderr, cfg.Log.Format, level)
	var show *show
	err := app.Run(ctx, app.Options{
		Config: cfg, Version: e.build.complete().Version, Log: log, Level: level,
		Ready: func(a *app.Agent) {
			log.Info("agent runs", "pid", os.Getpid(), "socket", cfg.Socket, "state_dir", cfg.StateDir)
			if !f.quiet {
				show = e.startShow(ctx, a, f, log)
			}
		},
	})
	if show != nil {
		show.wait()
		if err == nil {
			show.summary(app.Left(cfg))
		}
	}
	return err
}

func newLog(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// maxKnown bounds the alert ids that show remembers.
const maxKnown = 4096

// show prints what the agent sees. It reads like any client: when the terminal
// is slow, it loses events and says so, and nobody waits for it.
type show struct {
	e       *env
	agent   *app.Agent
	kinds   map[event.Kind]bool
	started time.Time
	wg      sync.WaitGroup

	mu     sync.Mutex
	events uint64
	alerts uint64
	known  *app.Seen // ids of the alerts that were counted
	lost   uint64
}

func (e *env) startShow(ctx context.Context, a *app.Agent, f *runFlags, log *slog.Logger) *show {
	s := &show{e: e, agent: a, kinds: map[event.Kind]bool{}, started: time.Now(), known: app.NewSeen(maxKnown)}
	shown, _ := kinds.Expand(f.kinds) // checked with the other settings
	for _, k := range shown {
		s.kinds[k] = true
	}
	// What is reported anyway is read too: the summary counts it.
	read := slices.DeleteFunc(event.Kinds(), func(k event.Kind) bool { return !s.kinds[k] && !a.Hub().Usual(k) })
	events, err := a.Hub().Read(read...)
	if err == nil {
		s.wg.Go(func() {
			if others := slices.DeleteFunc(shown, a.Hub().Usual); len(others) > 0 {
				asked := a.Ask(ctx, "terminal", others, nil)
				defer asked.Release()
				for _, n := range asked.Notes {
					log.Warn("not shown", "reason", n.Message, "cure", n.Cure)
				}
			}
			s.begin(a)
			s.follow(ctx, events)
		})
	} else {
		log.Error("events can't be shown", "err", err)
	}
	alerts, err := a.Hub().ReadAlerts()
	if err == nil {
		s.wg.Go(func() {
			<-a.Proven()
			s.alarm(alerts)
		})
	} else {
		log.Error("alerts can't be shown", "err", err)
	}
	return s
}

// begin prints the table of features, once it is complete.
func (s *show) begin(a *app.Agent) {
	<-a.Proven()
	e := s.e
	if e.json {
		_ = e.out.json(a.Features()) // flush tells the error
	} else {
		e.out.environment(a.Environment())
		e.out.featureTable(a.Features(), false)
		e.out.line(e.out.dim("`merlon check` tells why not more. Ctrl-C stops."))
	}
	_ = e.out.flush()
}

// follow prints events until the hub closes.
func (s *show) follow(ctx context.Context, r *api.Reader) {
	defer r.Close()
	buf := make([]event.Event, 256)
	for {
		n, lost, err := r.Poll(buf)
		if err != nil {
			return
		}
		for i := range lost {
			s.event(&event.Event{Time: time.Now(), Kind: event.KindLoss, Loss: &lost[i]})
		}
		for i := range buf[:n] {
			s.event(&buf[i])
		}
		if s.e.out.flush() != nil {
			return // nobody reads our output any more
		}
		if n == 0 && r.Wait(context.WithoutCancel(ctx)) != nil {
			return
		}
	}
}

func (s *show) event(ev *event.Event) {
	s.mu.Lock()
	if ev.Kind == event.KindLoss && ev.Loss != nil {
		s.lost += ev.Loss.Count
	} else {
		s.events++
	}
	s.mu.Unlock()
	if len(s.kinds) > 0 && !s.kinds[ev.Kind] || s.agent.Canary(ev.Process) {
		return
	}
	if !s.e.json {
		s.e.out.line(s.e.out.eventLine(ev))
		return
	}
	s.e.out.jsonLine(ev)
}

// alarm prints alerts until the hub closes.
func (s *show) alarm(r *api.AlertReader) {
	defer r.Close()
	for {
		alerts, missed, err := r.Next(context.Background()) // Close of the hub ends it
		if err != nil {
			return
		}
		if missed > 0 {
			s.event(&event.Event{Time: time.Now(), Kind: event.KindLoss, Loss: &event.Loss{Of: "alert", Stage: "client", Reason: "the terminal is too slow", Count: missed}})
		}
		for _, a := range alerts {
			s.mu.Lock()
			if s.known.Add(a.ID) {
				s.alerts++
			}
			s.mu.Unlock()
			if s.e.json {
				s.e.out.jsonLine(a)
			} else {
				s.e.out.line(s.e.out.alertBlock(a))
			}
		}
		if s.e.out.flush() != nil {
			return
		}
	}
}

func (s *show) wait() { s.wg.Wait() }

// summary prints what was seen in all, and what stays of the agent.
func (s *show) summary(left []string, err error) {
	if s.e.json {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.e.out
	p.line("")
	p.linef("%s %s events, %s alerts, %s lost in %s", p.bold("Merlon saw"), countText(s.events), countText(s.alerts), countText(s.lost), span(time.Since(s.started)))
	switch {
	case err != nil:
		p.line("Stopped. Whether something is left mounted or pinned is unknown: " + event.Safe(err.Error()))
	case len(left) == 0:
		p.line("Stopped: nothing is left attached, mounted or pinned.")
	default:
		p.line("Stopped: nothing is left attached. What stays, because somebody uses it:")
		for _, l := range left {
			p.line("  " + event.Safe(l))
		}
	}
}
