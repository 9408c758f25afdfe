// Command init is PID 1 of a test machine: it mounts what a Linux system has
// mounted, loads modules, runs the jobs of its plan one after the other, sends
// their output to a serial port and powers the machine off.
//
// It goes on after every problem and tells it there: a test that needs what is
// missing says so better than a machine that does not start.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/tests/vm/plan"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this is PID 1 of a test machine, not a command")
		os.Exit(1)
	}
	// An unexpected panic must end the machine with its stack on the
	// console, not hang it.
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(os.Stderr, "init: panic: %v\n%s", p, debug.Stack())
		}
		powerOff()
	}()
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "init: %v\n", err)
	}
}

func run() error {
	problems := mountAll()
	console()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))

	b, err := os.ReadFile(plan.File)
	if err != nil {
		return fmt.Errorf("read plan: %w", err)
	}
	var p plan.Plan
	if err := json.Unmarshal(b, &p); err != nil {
		return fmt.Errorf("read plan: %w", err)
	}
	port, err := openPort(p.Port)
	if err != nil {
		return fmt.Errorf("open %s: %w", p.Port, err)
	}
	problems = append(problems, loadModules(p.Modules)...)
	if err := loopbackUp(); err != nil {
		problems = append(problems, fmt.Errorf("set lo up: %w", err))
	}
	if err := unix.Sethostname([]byte("merlon-vm")); err != nil {
		problems = append(problems, fmt.Errorf("set host name: %w", err))
	}

	out := &output{w: port}
	out.mark(plan.Event{Stage: plan.Boot, Release: release(), Seconds: uptime(), Text: read("/sys/kernel/security/lsm")})
	for _, err := range problems {
		log.Warn("prepare", "err", err)
		out.mark(plan.Event{Stage: plan.Problem, Text: err.Error()})
	}
	for _, j := range p.Jobs {
		out.mark(plan.Event{Stage: plan.Begin, Job: j.Name})
		begin := time.Now()
		end := runJob(j, out)
		end.Stage, end.Job, end.Seconds = plan.End, j.Name, time.Since(begin).Seconds()
		out.mark(end)
	}
	out.mark(plan.Event{Stage: plan.Off, Seconds: uptime()})
	return errors.Join(out.err, drain(port))
}

// output is what goes over the port. A mark begins a line.
type output struct {
	w   io.Writer
	err error // the first one
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if err != nil && o.err == nil {
		o.err = err
	}
	return n, err
}

// mark needs no newline before it: plan.Mark holds in the middle of a line.
func (o *output) mark(e plan.Event) { io.WriteString(o, e.Line()) }

func release() string { return read("/proc/sys/kernel/osrelease") }

func uptime() float64 {
	var s float64
	fmt.Sscan(read("/proc/uptime"), &s)
	return s
}

func read(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b))
}

func powerOff() {
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Fprintf(os.Stderr, "init: power off: %v\n", err)
	}
	os.Exit(1) // PID 1 that exits panics the kernel, which ends the machine too
}
