package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/tests/vm/plan"
)

// lastWords is how long the output of a job may go on after its end, where
// something it started still holds the pipe.
const lastWords = 500 * time.Millisecond

// runJob runs j with its output on out and reaps whatever dies meanwhile, as
// PID 1 has to. The result's Exit is 128+n after signal n, as in a shell.
func runJob(j plan.Job, out io.Writer) plan.Event {
	r, w, err := os.Pipe()
	if err != nil {
		return plan.Event{Exit: 127, Text: "make pipe: " + err.Error()}
	}
	defer r.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		w.Close()
		return plan.Event{Exit: 127, Text: err.Error()}
	}
	defer null.Close()
	p, err := os.StartProcess(j.Path, append([]string{j.Path}, j.Args...), &os.ProcAttr{
		Dir:   j.Dir,
		Env:   []string{"PATH=/bin:/usr/bin:/sbin:/usr/sbin", "HOME=/root", "TMPDIR=/tmp", "USER=root", "MERLON_VM=1"},
		Files: []*os.File{null, w, w},
	})
	w.Close()
	if err != nil {
		return plan.Event{Exit: 127, Text: "start: " + err.Error()}
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(out, r) // ends at EOF or at the deadline set below
	}()
	timer := time.AfterFunc(j.Timeout, func() { _ = unix.Kill(p.Pid, unix.SIGKILL) })
	status, err := reapUntil(p.Pid)
	late := !timer.Stop()
	_ = unix.Kill(-1, unix.SIGKILL) // what it left running must not disturb the next job
	_ = r.SetReadDeadline(time.Now().Add(lastWords))
	<-copied
	if err != nil {
		return plan.Event{Exit: 127, Text: "wait: " + err.Error()}
	}
	return ended(status, late, j.Timeout)
}

func ended(s unix.WaitStatus, late bool, limit time.Duration) plan.Event {
	switch {
	case late:
		return plan.Event{Exit: 124, Text: fmt.Sprintf("killed after %v", limit)}
	case s.Signaled():
		return plan.Event{Exit: 128 + int(s.Signal()), Text: "signal: " + s.Signal().String()}
	}
	return plan.Event{Exit: s.ExitStatus()}
}

// reapUntil waits for children, ours and those that lost their parents, until
// pid is among them.
func reapUntil(pid int) (unix.WaitStatus, error) {
	for {
		var s unix.WaitStatus
		got, err := unix.Wait4(-1, &s, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return s, err
		case got == pid:
			return s, nil
		}
	}
}
