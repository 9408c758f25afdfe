package store

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"modernc.org/sqlite"
)

// migrations are the steps from an empty database to the present one. The
// database's user_version is how many of them it has seen; they are never
// changed, only added to.
var migrations = []string{
	`CREATE TABLE alerts (
		id       TEXT PRIMARY KEY,
		rule     TEXT NOT NULL,
		severity INTEGER NOT NULL, -- 1 low to 4 critical
		first    INTEGER NOT NULL, -- nanoseconds since 1970
		last     INTEGER NOT NULL,
		count    INTEGER NOT NULL,
		body     TEXT NOT NULL     -- the whole alert in JSON
	) STRICT, WITHOUT ROWID;
	CREATE INDEX alerts_last ON alerts (last);`,
}

// keepAside is how many corrupt databases are kept.
const keepAside = 2

// reopen opens the database anew and brings it to the present schema. A
// corrupt one is moved aside first.
func (s *Store) reopen() error {
	s.closeDB()
	if err := os.MkdirAll(s.o.Dir, 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	db, err := s.open()
	if isCorrupt(err) {
		if err = s.moveAside(err); err == nil {
			db, err = s.open()
		}
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", s.path, err)
	}
	fi, err := os.Stat(s.path)
	if err != nil {
		_ = db.Close()
		return fmt.Errorf("open %s: %w", s.path, err)
	}
	s.dbMu.Lock()
	s.db, s.file = db, fi
	s.dbMu.Unlock()
	return nil
}

func (s *Store) open() (*sql.DB, error) {
	// SQLite would make the file readable by all, as far as the umask lets it.
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(s.path)
	if err != nil {
		return nil, err
	}
	u := url.URL{Scheme: "file", Path: abs, RawQuery: url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "cache_size(-1024)", "journal_size_limit(4194304)"},
	}.Encode()}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(4) // the writer and some readers
	if err := migrate(db); err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

// migrate takes the steps that db has not seen, all or none.
func migrate(db *sql.DB) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing after Commit
	var have int
	if err := tx.QueryRow("PRAGMA user_version").Scan(&have); err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if have > len(migrations) {
		return fmt.Errorf("it has schema version %d and this merlon knows %d: run the newer merlon, or move the file away", have, len(migrations))
	}
	for i, step := range migrations[have:] {
		if _, err := tx.Exec(step); err != nil {
			return fmt.Errorf("migrate to schema version %d: %w", have+i+1, err)
		}
	}
	if have == len(migrations) {
		return nil
	}
	if _, err := tx.Exec(fmt.Sprintf("PRAGMA user_version = %d", len(migrations))); err != nil {
		return fmt.Errorf("write schema version: %w", err)
	}
	return tx.Commit()
}

func (s *Store) closeDB() {
	s.dbMu.Lock()
	defer s.dbMu.Unlock()
	if s.db != nil {
		_ = s.db.Close() // what was committed is safe without it
		s.db = nil
	}
}

// ready makes sure that the database is open, and still the file at its path.
func (s *Store) ready() error {
	fi, err := os.Stat(s.path)
	s.dbMu.RLock()
	ok := s.db != nil && err == nil && os.SameFile(fi, s.file)
	s.dbMu.RUnlock()
	if ok {
		return nil
	}
	return s.reopen()
}

// Result codes of SQLite (sqlite.org/rescode.html); the low byte is the
// primary code.
const (
	codeCorrupt = 11
	codeNotADB  = 26
)

func isCorrupt(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	code := e.Code() & 0xff
	return code == codeCorrupt || code == codeNotADB
}

// moveAside renames a corrupt database, and what belongs to it.
func (s *Store) moveAside(why error) error {
	to := s.path + ".corrupt-" + time.Now().UTC().Format("20060102T150405.000")
	if err := os.Rename(s.path, to); err != nil {
		return fmt.Errorf("move corrupt database aside: %w", err)
	}
	for _, ext := range []string{"-wal", "-shm"} {
		if err := os.Rename(s.path+ext, to+ext); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("move corrupt database aside: %w", err)
		}
	}
	s.o.Log.Error("state database was corrupt: moved aside, begun anew", "path", s.path, "to", to, "err", why)
	s.mu.Lock()
	s.stats.Failures++
	s.stats.LastError, s.stats.LastErrorAt, s.stats.MovedAside = why.Error(), time.Now(), to
	s.mu.Unlock()
	old, _ := filepath.Glob(s.path + ".corrupt-*[0-9]")
	slices.Sort(old) // by time
	for _, path := range old[:max(0, len(old)-keepAside)] {
		for _, ext := range []string{"", "-wal", "-shm"} {
			_ = os.Remove(path + ext)
		}
	}
	return nil
}
