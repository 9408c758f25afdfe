package store

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
)

var start = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)

// start opens a store and runs it until the test ends, or stop is called.
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

// tmpfs mounts a file system of size bytes.
func tmpfs(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size))
	if errors.Is(err, unix.EPERM) {
		t.Skip("needs CAP_SYS_ADMIN to mount a tmpfs: run as root")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill writes to path until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for chunk := 64 << 10; chunk > 0; chunk /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, chunk))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
}

// checkRecovery puts alerts while the disk refuses them, mends it, and wants
// all of them stored.
func checkRecovery(t *testing.T, s *Store, mend func()) {
	t.Helper()
	const n = 300
	for i := range n {
		a := alert(fmt.Sprintf("%03d", i), time.Duration(i))
		a.Reason = strings.Repeat("x", 1000)
		s.PutAlert(a)
	}
	if err := s.Flush(context.Background()); err == nil {
		t.Fatal("Flush: no error, although the disk takes nothing")
	}
	st := s.Stats()
	if st.OK || st.Failures == 0 || st.LastError == "" || st.Dropped != 0 || st.Pending != n {
		t.Errorf("while the disk refuses: %+v", st)
	}
	t.Log(st.LastError)
	list, _ := s.Alerts(context.Background(), start, 0)
	if len(list) < n {
		t.Errorf("while the disk refuses: %d alerts can be read, want %d", len(list), n)
	}
	mend()
	flush(t, s)
	if st := s.Stats(); !st.OK || st.Pending != 0 || st.Dropped != 0 {
		t.Errorf("after it was mended: %+v", st)
	}
	if got := len(ids(t, s, start, 0)); got < n {
		t.Errorf("after it was mended: %d alerts, want %d", got, n)
	}
}

func TestFullDisk(t *testing.T) {
	dir := tmpfs(t, 2<<20)
	s, stop := run(t, Options{Dir: dir})
	s.PutAlert(alert("before", 0))
	flush(t, s)
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	checkRecovery(t, s, func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	})
	stop()
}

func TestDiskFullAtTheStart(t *testing.T) {
	dir := tmpfs(t, 2<<20)
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	s, stop := run(t, Options{Dir: filepath.Join(dir, "state")})
	checkRecovery(t, s, func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	})
	stop()
}

func TestReadOnlyDisk(t *testing.T) {
	dir := tmpfs(t, 4<<20)
	remount := func(flags uintptr) {
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(unix.MS_RDONLY)
	s, stop := run(t, Options{Dir: filepath.Join(dir, "state")})
	checkRecovery(t, s, func() { remount(0) })
	stop()
}

// writerEnv makes this test binary a writer of alerts: see TestKilledWriter.
const writerEnv = "MERLON_TEST_STATE_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerEnv); dir != "" {
		writeForEver(dir)
	}
	os.Exit(m.Run())
}

func writeForEver(dir string) {
	lock, err := Lock(dir)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	defer func() { _ = lock.Close() }()
	s := Open(Options{Dir: dir})
	go func() { _ = s.Run(context.Background()) }()
	for i := 0; ; i++ {
		s.PutAlert(alert(fmt.Sprintf("%d-%d", os.Getpid(), i), 0))
		if err := s.Flush(context.Background()); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Printf("%d-%d\n", os.Getpid(), i)
	}
}

// writer starts a process that writes alerts and prints the id of each when it
// is on the disk.
func writer(t *testing.T, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerEnv+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
}

// Whatever was reported as written is there after SIGKILL, and the database
// is sound.
func TestKilledWriter(t *testing.T) {
	dir := t.TempDir()
	acked := make(map[string]bool)
	for round := range 8 {
		cmd, out := writer(t, dir)
		for range 5 + 13*round {
			if !out.Scan() || strings.HasPrefix(out.Text(), "error") {
				t.Fatalf("writer: %s %v", out.Text(), out.Err())
			}
			acked[out.Text()] = true
		}
		kill(t, cmd)
	}
	s := Open(Options{Dir: dir})
	defer s.closeDB()
	list, err := s.Alerts(context.Background(), time.Time{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		delete(acked, a.ID)
	}
	if len(acked) != 0 {
		t.Errorf("%d of the alerts that were written are gone: %v", len(acked), acked)
	}
	var sound string
	if err := s.db.QueryRow("PRAGMA integrity_check").Scan(&sound); err != nil || sound != "ok" {
		t.Errorf("integrity: %s, %v", sound, err)
	}
	if st := s.Stats(); !st.OK || st.MovedAside != "" {
		t.Errorf("books: %+v", st)
	}
}

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	cmd, out := writer(t, dir)
	if !out.Scan() {
		t.Fatal("the other agent wrote nothing")
	}
	_, err := Lock(dir)
	var locked *LockedError
	if !errors.As(err, &locked) || locked.PID != cmd.Process.Pid {
		t.Errorf("while pid %d has it: %v", cmd.Process.Pid, err)
	}
	kill(t, cmd)
	lock, err := Lock(dir)
	if err != nil {
		t.Fatalf("after it was killed: %v", err)
	}
	if _, err := Lock(dir); !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Errorf("while we have it: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Error(err)
	}
	if lock, err = Lock(dir); err != nil {
		t.Fatalf("after it was given back: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Error(err)
	}
}

func TestLockOnAFullDisk(t *testing.T) {
	dir := tmpfs(t, 1<<20)
	fill(t, filepath.Join(dir, "ballast"))
	lock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Lock(dir)
	var locked *LockedError
	if !errors.As(err, &locked) || locked.PID != 0 {
		t.Errorf("second lock: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Error(err)
	}
}
