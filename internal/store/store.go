// Package store keeps the agent's state in <state-dir>/state.db, an SQLite
// database in WAL mode, and guards the directory against a second agent.
//
// Trouble with the disk never stops the agent. One goroutine, Run's, writes;
// what can't be written waits in a bounded queue and is tried again later. A
// full queue drops, and Stats tells all of it: failures, drops, the last
// error. A corrupt database is moved aside and a new one begun.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/merlon/merlon/internal/event"
)

// File is the database's name in the state directory.
const File = "state.db"

const (
	retryFirst = time.Second // after a failure; doubled with each one that follows
	retryLast  = 30 * time.Second
	pruneEvery = time.Minute
)

// Options say where the state is kept, and how much of it; zero values become
// defaults.
type Options struct {
	Dir       string        // made when missing, mode 0700
	MaxAlerts int           // the oldest beyond are deleted; 100,000
	MaxAge    time.Duration // older alerts are deleted; 90 days
	MaxBytes  int64         // most bytes in use in the database; 256 MiB
	Queue     int           // most alerts that wait to be written; 1024
	Log       *slog.Logger
}

func (o *Options) defaults() {
	if o.MaxAlerts <= 0 {
		o.MaxAlerts = 100_000
	}
	if o.MaxAge <= 0 {
		o.MaxAge = 90 * 24 * time.Hour
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 256 << 20
	}
	if o.Queue <= 0 {
		o.Queue = 1024
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// Stats says how the store fares.
type Stats struct {
	Path         string    `json:"path"`
	OK           bool      `json:"ok"`      // the last attempt to write succeeded
	Written      uint64    `json:"written"` // alerts and updates of alerts
	Failures     uint64    `json:"failures"`
	Dropped      uint64    `json:"dropped"` // alerts that the full queue had no room for, or that can't be encoded
	Pending      int       `json:"pending"`
	PendingLimit int       `json:"pending_limit"`
	Pruned       uint64    `json:"pruned"` // alerts deleted to keep within the limits
	Bytes        int64     `json:"bytes"`  // size of the database file
	LastError    string    `json:"last_error,omitempty"`
	LastErrorAt  time.Time `json:"last_error_at,omitzero"`
	MovedAside   string    `json:"moved_aside,omitempty"` // where a corrupt database went
}

// Store keeps state. Its life: Open, Run once; the other methods may be called
// at any time by any goroutine.
type Store struct {
	o    Options
	path string
	work chan struct{}   // something is pending
	ask  chan chan error // Flush's requests
	done chan struct{}   // Run has returned

	dbMu sync.RWMutex // held for reading while db is used
	db   *sql.DB      // nil when it could not be opened
	file os.FileInfo  // of the database when it was opened

	mu      sync.Mutex
	pending map[string]*event.Alert
	stats   Stats
	retry   time.Duration // of Run's goroutine
}

// Open opens the database, and goes on without it when it can't: see Stats.
func Open(o Options) *Store {
	o.defaults()
	s := &Store{
		o: o, path: filepath.Join(o.Dir, File), pending: make(map[string]*event.Alert),
		work: make(chan struct{}, 1), ask: make(chan chan error), done: make(chan struct{}),
	}
	s.stats = Stats{Path: s.path, OK: true, PendingLimit: o.Queue}
	if err := s.reopen(); err != nil {
		s.failed(err)
	}
	return s
}

// Run writes what is put into the store until ctx ends. It then tries once
// more to write what waits, and closes the database.
func (s *Store) Run(ctx context.Context) error {
	defer close(s.done)
	defer s.closeDB()
	prune := time.NewTicker(pruneEvery)
	defer prune.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		var err error
		select {
		case <-s.work:
			if s.retry > 0 {
				continue // the timer will see to it
			}
			err = s.write()
		case <-retry.C:
			err = s.write()
		case reply := <-s.ask:
			err = s.write()
			reply <- err
		case <-prune.C:
			err = s.prune(time.Now())
		case <-ctx.Done():
			if err := s.write(); err != nil {
				s.o.Log.Error("alerts could not be stored before the end", "err", err)
			}
			return nil
		}
		if err != nil {
			retry.Reset(s.retry)
		}
	}
}

// PutAlert keeps the newest state of an alert, known by its ID. It does not
// block and does not change a, which must stay as it is. When the queue is
// full, the least severe alert in it makes room, if a is more severe.
func (s *Store) PutAlert(a *event.Alert) {
	s.mu.Lock()
	if _, known := s.pending[a.ID]; !known && len(s.pending) >= s.o.Queue {
		s.stats.Dropped++
		victim := a
		for _, p := range s.pending {
			if p.Rule.Severity.Rank() < victim.Rule.Severity.Rank() {
				victim = p
			}
		}
		delete(s.pending, victim.ID)
		if victim == a {
			s.mu.Unlock()
			return
		}
	}
	s.pending[a.ID] = a
	s.mu.Unlock()
	select {
	case s.work <- struct{}{}:
	default:
	}
}

// Flush writes what waits and returns when it is on the disk. Run must run.
func (s *Store) Flush(ctx context.Context) error {
	reply := make(chan error, 1)
	select {
	case s.ask <- reply:
		return <-reply
	case <-s.done:
		return errors.New("flush store: it is closed")
	case <-ctx.Done():
		return fmt.Errorf("flush store: %w", ctx.Err())
	}
}

// Stats returns the books.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Pending = len(s.pending)
	if fi, err := os.Stat(s.path); err == nil {
		st.Bytes = fi.Size()
	}
	return st
}

// failed notes an error. The first of a row is logged.
func (s *Store) failed(err error) {
	s.retry = min(max(2*s.retry, retryFirst), retryLast)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stats.OK {
		s.o.Log.Error("state can't be kept; going on without, and trying again", "path", s.path, "err", err)
	}
	s.stats.OK = false
	s.stats.Failures++
	s.stats.LastError, s.stats.LastErrorAt = event.Safe(err.Error()), time.Now()
}

func (s *Store) succeeded() {
	s.retry = 0
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stats.OK {
		s.o.Log.Info("state is kept again", "path", s.path)
	}
	s.stats.OK = true
}
