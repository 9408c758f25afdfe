package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/merlon/merlon/internal/event"
)

var start = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)

// run opens a store and runs it until the test ends, or stop is called.
func run(t *testing.T, o Options) (s *Store, stop func()) {
	t.Helper()
	s = Open(o)
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return s, stop
}

func flush(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func alert(id string, at time.Duration) *event.Alert {
	return &event.Alert{
		ID: id, Rule: event.Rule{ID: "r", Severity: event.SeverityHigh}, Reason: "because", First: start, Last: start.Add(at), Count: 1,
		Evidence: []event.Evidence{{Field: "process.exe", Value: "/tmp/\xff\x1b[31m", Source: "kernel"}},
		Process:  &event.Process{PID: 7, Exe: "/tmp/\xff"},
	}
}

func ids(t *testing.T, s *Store, since time.Time, limit int) (out []string) {
	t.Helper()
	list, err := s.Alerts(context.Background(), since, limit)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		out = append(out, fmt.Sprint(a.ID, a.Count))
	}
	return out
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("alerts (-want +got):\n%s", d)
	}
}

func TestAlertsSurviveARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "odd ?#% name", "state")
	s, stop := run(t, Options{Dir: dir})
	first := alert("a", 0)
	s.PutAlert(first)
	s.PutAlert(alert("b", time.Second))
	s.PutAlert(alert("c", 2*time.Second))
	flush(t, s)
	again := alert("b", 3*time.Second)
	again.Count = 5
	s.PutAlert(again)
	stop() // writes what waits
	if err := s.Flush(context.Background()); err == nil {
		t.Error("Flush after the end: no error")
	}

	s, _ = run(t, Options{Dir: dir})
	want(t, ids(t, s, time.Time{}, 0), "b5", "c1", "a1")
	want(t, ids(t, s, time.Time{}, 2), "b5", "c1")
	want(t, ids(t, s, start.Add(time.Second), 0), "b5", "c1")
	list, err := s.Alerts(context.Background(), start, 0)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(first, list[2], cmp.AllowUnexported(event.Process{})); d != "" {
		t.Errorf("stored alert (-want +got):\n%s", d)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o700, s.path: 0o600} {
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != mode {
			t.Errorf("mode of %s: %v, want %v (%v)", path, fi.Mode(), mode, err)
		}
	}
}

func TestWaitingAlertsAreListed(t *testing.T) {
	s := Open(Options{Dir: t.TempDir()}) // nobody writes
	defer s.closeDB()
	s.PutAlert(alert("a", 0))
	want(t, ids(t, s, start, 0), "a1")
	want(t, ids(t, s, start.Add(time.Second), 0))
}

func TestFullQueueKeepsTheSevere(t *testing.T) {
	s := Open(Options{Dir: t.TempDir(), Queue: 2})
	defer s.closeDB()
	for i, sev := range []event.Severity{event.SeverityLow, event.SeverityHigh, event.SeverityCritical, event.SeverityLow} {
		a := alert(string(rune('a'+i)), time.Duration(-i))
		a.Rule.Severity = sev
		s.PutAlert(a)
	}
	s.PutAlert(alert("b", -1)) // an update takes no room
	want(t, ids(t, s, time.Time{}, 0), "b1", "c1")
	if st := s.Stats(); st.Dropped != 2 || st.Pending != 2 || st.PendingLimit != 2 {
		t.Errorf("books: %+v", st)
	}
}

func TestRetention(t *testing.T) {
	s := Open(Options{Dir: t.TempDir(), MaxAlerts: 3, MaxAge: time.Hour})
	defer s.closeDB()
	for i := range 6 {
		s.PutAlert(alert(string(rune('a'+i)), time.Duration(i)*time.Minute))
	}
	if err := errors.Join(s.write(), s.prune(start)); err != nil {
		t.Fatal(err)
	}
	want(t, ids(t, s, time.Time{}, 0), "f1", "e1", "d1")
	if err := s.prune(start.Add(time.Hour + 270*time.Second)); err != nil {
		t.Fatal(err)
	}
	want(t, ids(t, s, time.Time{}, 0), "f1")
	if n := s.Stats().Pruned; n != 5 {
		t.Errorf("pruned %d, want 5", n)
	}
}

func TestRetentionBySize(t *testing.T) {
	s := Open(Options{Dir: t.TempDir(), MaxBytes: 256 << 10, MaxAge: time.Hour})
	defer s.closeDB()
	for round := range 5 {
		for i := range 100 {
			a := alert(fmt.Sprintf("%d-%02d", round, i), time.Duration(round*100+i))
			a.Reason = strings.Repeat("x", 4000)
			s.PutAlert(a)
		}
		if err := errors.Join(s.write(), s.prune(start)); err != nil {
			t.Fatal(err)
		}
	}
	list := ids(t, s, time.Time{}, 0)
	if len(list) < 20 || len(list) > 64 || list[0] != "4-991" {
		t.Errorf("%d alerts of 4 KB are left, the first is %s", len(list), list[0])
	}
	if n := s.Stats().Bytes; n > 1<<20 {
		t.Errorf("the file has grown to %d bytes: freed space is not used again", n)
	}
}

func TestCorruptDatabaseIsMovedAside(t *testing.T) {
	for _, tt := range []struct {
		name string
		harm func(t *testing.T, path string)
	}{
		{"not a database", func(t *testing.T, path string) { overwrite(t, path, 0, 4096) }},
		{"damaged pages", func(t *testing.T, path string) { overwrite(t, path, 4096, 1<<20) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s, stop := run(t, Options{Dir: dir})
			for i := range 500 {
				s.PutAlert(alert(fmt.Sprint("old", i), 0))
			}
			stop()
			tt.harm(t, s.path)
			s, _ = run(t, Options{Dir: dir})
			s.PutAlert(alert("new", 0))
			flush(t, s)
			want(t, ids(t, s, time.Time{}, 0), "new1")
			st := s.Stats()
			if _, err := os.Stat(st.MovedAside); err != nil || !st.OK || st.LastError == "" || st.Failures == 0 {
				t.Errorf("books: %+v, %v", st, err)
			}
		})
	}
}

func overwrite(t *testing.T, path string, from, to int64) {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte(strings.Repeat("\xa5", int(min(to, fi.Size())-from))), from)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyAFewCorruptDatabasesAreKept(t *testing.T) {
	dir := t.TempDir()
	for i := range keepAside + 2 {
		if err := os.WriteFile(filepath.Join(dir, File), []byte(strings.Repeat("junk", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		s := Open(Options{Dir: dir})
		if !s.Stats().OK {
			t.Fatalf("round %d: %s", i, s.Stats().LastError)
		}
		s.closeDB()
		time.Sleep(2 * time.Millisecond) // the names carry milliseconds
	}
	aside, _ := filepath.Glob(filepath.Join(dir, "*.corrupt-*"))
	if len(aside) != keepAside {
		t.Errorf("kept %v, want %d", aside, keepAside)
	}
}

func TestNewerSchemaIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	s, stop := run(t, Options{Dir: dir})
	s.PutAlert(alert("a", 0))
	stop()
	db, err := sql.Open("sqlite", s.path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s = Open(Options{Dir: dir})
	if st := s.Stats(); st.OK || !strings.Contains(st.LastError, "schema version 99") || st.MovedAside != "" {
		t.Errorf("books: %+v", st)
	}
	if _, err := s.Alerts(context.Background(), start, 0); err == nil {
		t.Error("Alerts: no error")
	}
}

func TestVanishedDatabaseIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	s, _ := run(t, Options{Dir: dir})
	s.PutAlert(alert("a", 0))
	flush(t, s)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	s.PutAlert(alert("b", 0))
	flush(t, s)
	want(t, ids(t, s, time.Time{}, 0), "b1")
	if _, err := os.Stat(s.path); err != nil {
		t.Error(err)
	}
}
