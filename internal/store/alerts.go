package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/merlon/merlon/internal/event"
)

// write writes all that waits in one transaction. What could not be written
// waits on, unless there is something newer of the same alert.
func (s *Store) write() error {
	var batch map[string]*event.Alert
	s.mu.Lock()
	if len(s.pending) > 0 {
		batch, s.pending = s.pending, make(map[string]*event.Alert)
	}
	s.mu.Unlock()
	err := s.do(func(tx *sql.Tx) error { return s.putAlerts(tx, batch) })
	s.mu.Lock()
	if err == nil {
		s.stats.Written += uint64(len(batch))
	} else {
		for id, a := range batch {
			if _, newer := s.pending[id]; newer {
				continue
			}
			if len(s.pending) >= s.o.Queue {
				s.stats.Dropped++
				continue
			}
			s.pending[id] = a
		}
	}
	s.mu.Unlock()
	return err
}

// do runs f in a transaction and notes how it went. After a failure the
// database is opened anew the next time.
func (s *Store) do(f func(*sql.Tx) error) error {
	err := s.ready()
	if err == nil {
		if err = s.transact(f); err != nil {
			s.closeDB()
		}
		if isCorrupt(err) {
			if err = s.moveAside(err); err == nil {
				if err = s.ready(); err == nil {
					err = s.transact(f)
				}
			}
		}
	}
	if err != nil {
		s.failed(err)
		return err
	}
	s.succeeded()
	return nil
}

func (s *Store) transact(f func(*sql.Tx) error) error {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	tx, err := s.db.Begin()
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing after Commit
	if err := f(tx); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

func (s *Store) putAlerts(tx *sql.Tx, batch map[string]*event.Alert) error {
	if len(batch) == 0 {
		return nil
	}
	put, err := tx.Prepare(`INSERT INTO alerts (id, rule, severity, first, last, count, body) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET first = excluded.first, last = excluded.last, count = excluded.count, body = excluded.body`)
	if err != nil {
		return err
	}
	defer func() { _ = put.Close() }()
	for _, a := range batch {
		body, err := json.Marshal(a)
		if err != nil { // a year beyond 9999, say: trying again would not help
			s.refused(a.ID, err)
			continue
		}
		_, err = put.Exec(a.ID, a.Rule.ID, a.Rule.Severity.Rank(), a.First.UnixNano(), a.Last.UnixNano(), int64(a.Count), string(body))
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) refused(id string, err error) {
	s.o.Log.Error("alert can't be encoded", "alert", id, "err", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Dropped++
	s.stats.LastError, s.stats.LastErrorAt = event.Safe(err.Error()), time.Now()
}

// Alerts returns alerts whose last finding is not before since, the newest
// first, at most limit (all when it is 0); those that wait to be written are
// among them. With an error come those that could be read.
func (s *Store) Alerts(ctx context.Context, since time.Time, limit int) ([]*event.Alert, error) {
	var list []*event.Alert
	waiting := make(map[string]bool)
	s.mu.Lock()
	for id, a := range s.pending {
		waiting[id] = true
		if !a.Last.Before(since) {
			list = append(list, a)
		}
	}
	s.mu.Unlock()
	err := s.read(ctx, since, limit, func(a *event.Alert) {
		if !waiting[a.ID] {
			list = append(list, a)
		}
	})
	slices.SortFunc(list, func(a, b *event.Alert) int { return b.Last.Compare(a.Last) })
	if limit > 0 && len(list) > limit {
		list = list[:limit]
	}
	return list, err
}

func (s *Store) read(ctx context.Context, since time.Time, limit int, yield func(*event.Alert)) error {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	if s.db == nil {
		return errors.New("read alerts: the state database is not open")
	}
	from, most := int64(0), -1
	if since.Unix() > 0 {
		from = since.UnixNano()
	}
	if limit > 0 {
		most = limit
	}
	rows, err := s.db.QueryContext(ctx, "SELECT body FROM alerts WHERE last >= ? ORDER BY last DESC LIMIT ?", from, most)
	if err != nil {
		return fmt.Errorf("read alerts: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var bad error
	for rows.Next() {
		var body string
		a := new(event.Alert)
		if err := rows.Scan(&body); err != nil {
			return fmt.Errorf("read alerts: %w", err)
		}
		if err := json.Unmarshal([]byte(body), a); err != nil {
			bad = fmt.Errorf("decode stored alert: %w", err)
			continue
		}
		yield(a)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read alerts: %w", err)
	}
	return bad
}

// prune deletes what is beyond the limits of age, number and size.
func (s *Store) prune(now time.Time) error {
	var gone int64
	err := s.do(func(tx *sql.Tx) error {
		gone = 0
		del := func(query string, args ...any) error {
			res, err := tx.Exec(query, args...)
			if err != nil {
				return fmt.Errorf("delete old alerts: %w", err)
			}
			n, err := res.RowsAffected()
			gone += n
			return err
		}
		const oldest = "DELETE FROM alerts WHERE id IN (SELECT id FROM alerts ORDER BY last LIMIT ?)"
		if err := del("DELETE FROM alerts WHERE last < ?", now.Add(-s.o.MaxAge).UnixNano()); err != nil {
			return err
		}
		var n, used int64
		if err := tx.QueryRow("SELECT count(*) FROM alerts").Scan(&n); err != nil {
			return err
		}
		if over := n - int64(s.o.MaxAlerts); over > 0 {
			if err := del(oldest, over); err != nil {
				return err
			}
			n -= over
		}
		for n > 0 {
			err := tx.QueryRow(`SELECT (p.page_count - f.freelist_count) * s.page_size
				FROM pragma_page_count p, pragma_freelist_count f, pragma_page_size s`).Scan(&used)
			if err != nil || used <= s.o.MaxBytes {
				return err
			}
			some := n/20 + 1
			if err := del(oldest, some); err != nil {
				return err
			}
			n -= some
		}
		return nil
	})
	if err == nil {
		s.mu.Lock()
		s.stats.Pruned += uint64(gone)
		s.mu.Unlock()
	}
	return err
}
