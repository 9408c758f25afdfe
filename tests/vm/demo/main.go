// Command demo boots a Debian kernel in QEMU with the agent inside, runs
// harmless look-alikes of attacks there and prints what the agent saw of each.
// It needs no root and touches nothing of the machine it runs on.
//
// It ends with status 1 when the agent missed an attack, or the demo could not
// run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"time"

	"golang.org/x/term"

	"github.com/merlon/merlon/tests/vm"
	"github.com/merlon/merlon/tests/vm/demo/report"
	"github.com/merlon/merlon/tests/vm/plan"
)

func main() {
	own := "amd64-6.12"
	if runtime.GOARCH == "arm64" {
		own = "arm64-6.12"
	}
	kernel := flag.String("kernel", own, "the kernel to boot, of the matrix in tests/vm")
	limit := flag.Duration("limit", 5*time.Minute, "longest time for the machine")
	verbose := flag.Bool("v", false, "print everything that the machine sends")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *kernel, *limit, *verbose)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, name string, limit time.Duration, verbose bool) error {
	k, err := vm.KernelNamed(name)
	if err != nil {
		return err
	}
	if _, err := vm.FindQEMU(k.Arch); err != nil {
		return err
	}
	out := &printer{w: os.Stdout, color: term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == ""}
	dir, err := os.MkdirTemp("", "merlon-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	m, err := prepare(ctx, out, k, dir)
	if err != nil {
		return err
	}
	out.step("Booting %s %s, emulated: this takes some seconds", m.Image.Package, m.Image.Version)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done after %v", limit))
	defer cancel()
	s := &show{out: out}
	err = m.Run(ctx, func(line string) {
		if verbose {
			fmt.Fprintf(os.Stderr, "%q\n", line)
		}
		s.line(line)
	})
	return s.end(err)
}

// prepare builds what the machine needs, into a folder.
func prepare(ctx context.Context, out *printer, k vm.Kernel, dir string) (*vm.Machine, error) {
	out.step("Getting Debian's kernel (kept for the next time)")
	image, err := vm.Fetch(ctx, k)
	if err != nil {
		return nil, err
	}
	out.step("Building the agent and the attacks")
	b, err := vm.NewBuilder(ctx, k.Arch, dir)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, pkg := range []string{"tests/vm/init", "tests/vm/demo/attacks", "cmd/merlon"} {
		if files[pkg], err = b.Command(ctx, pkg); err != nil {
			return nil, err
		}
	}
	attacks := files["tests/vm/demo/attacks"]
	t := vm.Tree{}
	t.AddHost("usr/bin/merlon", files["cmd/merlon"], 0o755)
	t.AddHost("usr/bin/attacks", attacks, 0o755)
	t.AddHost("usr/bin/passwd", attacks, 0o4755)
	t.AddHost("usr/sbin/nginx", attacks, 0o755)
	t.AddHost("usr/lib/helper", attacks, 0o755)
	t.AddHost("bin/sh", attacks, 0o755)
	t.AddDir("usr/share", 0o755)
	t.AddDir("var/tmp", 0o1777)
	job := plan.Job{Name: "demo", Path: "/usr/bin/attacks", Dir: "/", Timeout: 10 * time.Minute}
	return &vm.Machine{Kernel: k, Image: image, Init: files["tests/vm/init"], Tree: t, Jobs: []plan.Job{job}}, nil
}

// show prints the records as they come and remembers the attacks.
type show struct {
	out     *printer
	attacks []report.Record
	other   []string // what is no record: complaints
	failed  string
	done    bool
}

func (s *show) line(line string) {
	if e, ok := plan.Parse(line); ok {
		if e.Stage == plan.Boot {
			s.out.step("Linux %s is up after %.0f s, starting the agent in it", e.Release, e.Seconds)
		}
		return
	}
	r, ok := report.Parse(line)
	if !ok {
		s.other = append(s.other, line)
		return
	}
	switch r.Stage {
	case report.Ready:
		s.out.ready(r)
	case report.Attack:
		s.attacks = append(s.attacks, r)
		s.out.attack(len(s.attacks), r)
	case report.Failed:
		s.failed = r.Problem
		s.out.lines(r.Lines)
	case report.Done:
		s.done = true
	}
}

// end prints the table and judges the run.
func (s *show) end(err error) error {
	if err != nil {
		return err
	}
	if !s.done {
		s.out.lines(s.other)
		if s.failed == "" {
			s.failed = "the attacks ended early"
		}
		return errors.New(s.failed)
	}
	if wrong := s.out.table(s.attacks); wrong > 0 {
		s.out.lines(s.other)
		return fmt.Errorf("the agent was wrong in %d of %d cases", wrong, len(s.attacks))
	}
	return nil
}
