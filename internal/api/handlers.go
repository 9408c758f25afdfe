package api

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// maxCost is the longest time that a status request measures.
const maxCost = 10 * time.Second

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	cost := time.Duration(0)
	if text := r.URL.Query().Get("cost"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 || d > maxCost {
			problem(w, http.StatusBadRequest, "cost is not a duration of at most "+maxCost.String(), "write it like 1s")
			return
		}
		cost = d
	}
	st, err := s.o.Agent.Status(r.Context(), cost)
	if r.Context().Err() != nil {
		return // the client is gone
	}
	if err != nil {
		problem(w, http.StatusInternalServerError, err.Error(), "")
		return
	}
	answer(w, st)
}

func (s *Server) check(w http.ResponseWriter, r *http.Request) {
	st, err := s.o.Agent.Status(r.Context(), 0)
	if err != nil {
		problem(w, http.StatusInternalServerError, err.Error(), "")
		return
	}
	answer(w, st.Features)
}

func (s *Server) config(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	if err := s.o.Agent.Config(w); err != nil {
		problem(w, http.StatusInternalServerError, err.Error(), "")
	}
}

func (s *Server) processes(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	for _, p := range s.o.Agent.Processes() {
		if enc.Encode(p) != nil {
			return
		}
	}
}

func (s *Server) logLevel(w http.ResponseWriter, _ *http.Request) {
	answer(w, LogLevel{strings.ToLower(s.o.Level.Level().String())})
}

func (s *Server) setLogLevel(w http.ResponseWriter, r *http.Request) {
	var req LogLevel
	var level slog.Level
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		problem(w, http.StatusBadRequest, fmt.Sprintf("the body is not a log level: %v", err), `send {"level":"debug"}`)
		return
	}
	switch req.Level {
	case "debug", "info", "warn", "error":
		_ = level.UnmarshalText([]byte(req.Level)) // one of the four
	default:
		problem(w, http.StatusBadRequest, fmt.Sprintf("%q is not a log level", req.Level), "use debug, info, warn or error")
		return
	}
	s.o.Level.Set(level)
	s.logLevel(w, r)
}
