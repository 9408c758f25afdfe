// Package api serves what the agent knows: HTTP/1.1 over a unix socket, where
// the kernel tells who asks, and metrics on a loopback port if configured.
// Reading and changing are separate rights.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/filter"
)

// Agent is what the API asks of the agent. Any goroutine may call it.
type Agent interface {
	// Status tells how the agent is. With a cost above zero it first
	// measures for that long what the BPF programs cost.
	Status(ctx context.Context, cost time.Duration) (*Status, error)
	// Processes returns the live processes.
	Processes() []*event.Process
	// Alerts returns the last n alerts, oldest first.
	Alerts(ctx context.Context, n int) ([]*event.Alert, error)
	// Config writes the effective configuration.
	Config(w io.Writer) error
	// Ask has the sensors report kinds, and reads of the paths, until the
	// answer is released. It returns when they do, or when ctx ends; who is
	// what status calls the asker.
	Ask(ctx context.Context, who string, kinds []event.Kind, paths []string) *Asked
}

// Asked is the answer to somebody who asks for kinds of events.
type Asked struct {
	Notes   []Problem // of what was asked for, what can't be had here
	Release func()
}

// Options are what New needs.
type Options struct {
	Agent  Agent
	Hub    *Hub
	Access Access
	Level  *slog.LevelVar // of the agent's log, changed through the API
	Log    *slog.Logger
}

// Server answers requests. Its life: New, Serve and ServeMetrics until their
// contexts end.
type Server struct {
	o       Options
	filters *filter.Compiler
	metrics http.Handler
	handler http.Handler
}

// New prepares a server; it doesn't listen yet.
func New(o Options) (*Server, error) {
	filters, err := filter.NewCompiler()
	if err != nil {
		return nil, err
	}
	s := &Server{o: o, filters: filters}
	if s.metrics, err = newMetrics(o.Agent, o.Log); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+PathStatus, s.status)
	mux.HandleFunc("GET "+PathEvents, s.events)
	mux.HandleFunc("GET "+PathAlerts, s.alerts)
	mux.HandleFunc("GET "+PathProcesses, s.processes)
	mux.HandleFunc("GET "+PathCheck, s.check)
	mux.HandleFunc("GET "+PathConfig, s.config)
	mux.HandleFunc("GET "+PathLogLevel, s.logLevel)
	mux.HandleFunc("PUT "+PathLogLevel, s.changing(s.setLogLevel))
	mux.Handle("GET "+PathMetrics, s.metrics)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		problem(w, http.StatusNotFound, "there is no such path or method", "agent and command may be of different versions: compare `merlon version` with `merlon status`")
	})
	s.handler = deadlines(mux)
	return s, nil
}

// stopWithin is how long open requests get to end after the hub has closed
// the streams.
const stopWithin = 2 * time.Second

// Serve answers on the unix socket l until ctx ends, and closes it.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return s.run(ctx, newGuard(l, s.o.Access), s.handler)
}

// ServeMetrics answers /metrics, and nothing else, on the loopback listener l
// until ctx ends, and closes it.
func (s *Server) ServeMetrics(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET "+PathMetrics, localOnly(s.metrics))
	return s.run(ctx, l, mux)
}

func (s *Server) run(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler: h, ConnContext: connContext,
		ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog:    slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		defer cancel()
		if srv.Shutdown(stop) != nil {
			s.o.Log.Warn("requests that do not end are cut off")
			_ = srv.Close()
		}
	}()
	err := srv.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		<-stopped
		return nil
	}
	return fmt.Errorf("serve api: %w", err)
}

// writeWithin is how long a client may take to read an answer that is no
// stream.
const writeWithin = 30 * time.Second

// lastWords is how long a client may take to read what is being written to it
// when the agent stops.
const lastWords = 100 * time.Millisecond

// deadlines ends answers that nobody reads. Streams may take for ever: the hub
// bounds how many there are.
func deadlines(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		if r.URL.Path != PathEvents && r.URL.Path != PathAlerts {
			_ = c.SetWriteDeadline(time.Now().Add(writeWithin))
		}
		// The request's context ends when the server stops, or when the
		// client is gone and it doesn't matter.
		defer context.AfterFunc(r.Context(), func() { _ = c.SetWriteDeadline(time.Now().Add(lastWords)) })()
		h.ServeHTTP(w, r)
	})
}

// localOnly refuses requests whose Host is a name: a web page could make a
// browser on this host ask for us under its own name (DNS rebinding).
func localOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if host != "localhost" && (err != nil || !addr.IsLoopback()) {
			problem(w, http.StatusForbidden, "the Host of the request is not a loopback address", "")
			return
		}
		h.ServeHTTP(w, r)
	})
}

// changing wraps what changes the running agent: reading rights don't do.
func (s *Server) changing(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p, ok := peerFrom(r.Context())
		if !ok || !s.o.Access.mayChange(p) {
			problem(w, http.StatusForbidden, fmt.Sprintf("user %d may read but not change this agent", p.uid), "use sudo, or add the user to api.admin_uids in the configuration")
			return
		}
		s.o.Log.Info("change through the api", "method", r.Method, "path", r.URL.Path, "uid", p.uid, "pid", p.pid)
		h(w, r)
	}
}

func problem(w http.ResponseWriter, code int, msg, cure string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(Problem{msg, cure})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client is gone: nobody to tell
}
