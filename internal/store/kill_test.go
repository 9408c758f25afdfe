package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

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
