// Command bench measures what the agent costs, against the same work without
// it, and prints one table and one JSON file: the numbers of
// docs/performance.md. It never passes or fails by a clock; it tells which
// targets were met. Run it as root on a machine that does nothing else:
//
//	make bench              about 25 minutes
//	make bench BENCH="-only overhead,idle"
//	make soak               the long forms, within an hour
//	make soak BENCH="-only hostile"
//
// docs/performance.md says what each stage does.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// stage is one group of numbers.
type stage struct {
	name string
	run  func(context.Context, *settings) ([]result, error)
}

var stages = []stage{
	{"start", measureStart},
	{"idle", measureIdle},
	{"overhead", measureOverhead},
	{"sensors", measureSensors},
	{"pipeline", measurePipeline},
	{"storm", measureStorm},
	{"burst", measureBurst},
	{"hostile", measureHostile},
	{"hooks", measureHooks},
}

// settings are what the flags choose.
type settings struct {
	agent string // the agent's binary
	long  bool
	pairs int // rounds of the overhead and sensors stages
	log   io.Writer
}

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	var (
		s     = settings{log: os.Stderr}
		only  = fs.String("only", "", "stages to run, comma-separated: "+strings.Join(names(), ", "))
		out   = fs.String("json", "build/bench.json", "file for the results as JSON")
		doc   = fs.String("doc", "", "page whose results are replaced by these")
		child = fs.String("child", "", "for bench's own use: run this pipeline, or do this work, and print a report")
	)
	fs.StringVar(&s.agent, "agent", "build/merlon", "the agent's binary")
	fs.BoolVar(&s.long, "long", false, "long forms: more rounds, more events, longer idling")
	fs.IntVar(&s.pairs, "pairs", 31, "rounds of the overhead and sensors stages, 61 with -long")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	if s.long {
		s.pairs = max(s.pairs, 61)
	}
	if fs.NArg() > 0 && *child == "" {
		fmt.Fprintf(os.Stderr, "bench: takes no arguments, only flags: %s\n", fs.Arg(0))
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *child != "" {
		if err := runChild(ctx, *child, fs.Args()); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			return 1
		}
		return 0
	}
	rep, err := runStages(ctx, &s, *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	if err := errors.Join(rep.table(os.Stdout), save(rep, *out), update(rep, *doc)); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	if len(rep.Failed) > 0 {
		return 1
	}
	return 0
}

func names() []string {
	var n []string
	for _, s := range stages {
		n = append(n, s.name)
	}
	return n
}

func runStages(ctx context.Context, s *settings, only string) (*report, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("needs root: BPF and starting the agent")
	}
	want := names()
	if only != "" {
		want = strings.Split(only, ",")
	}
	for _, w := range want {
		if !slices.Contains(names(), w) {
			return nil, fmt.Errorf("no stage %q: there are %s", w, strings.Join(names(), ", "))
		}
	}
	rep := &report{Machine: thisMachine()}
	for _, st := range stages {
		if !slices.Contains(want, st.name) || ctx.Err() != nil {
			continue
		}
		fmt.Fprintf(s.log, "== %s\n", st.name)
		results, err := st.run(ctx, s)
		rep.Results = append(rep.Results, results...)
		if err != nil {
			rep.Failed = append(rep.Failed, fmt.Sprintf("%s: %v", st.name, err))
		}
	}
	return rep, nil
}

func runChild(ctx context.Context, options string, args []string) error {
	if name, ok := strings.CutPrefix(options, "work-"); ok {
		return workChild(ctx, name, args)
	}
	var o pipelineOptions
	if err := json.Unmarshal([]byte(options), &o); err != nil {
		return fmt.Errorf("read options of child: %w", err)
	}
	return pipelineChild(ctx, o)
}

func save(rep *report, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("save results: %w", err)
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("save results: %w", err)
	}
	return errors.Join(rep.json(f), f.Close())
}

// update puts the results into a page of docs/.
func update(rep *report, path string) error {
	if path == "" {
		return nil
	}
	page, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("update page: %w", err)
	}
	text, err := rep.markdown(string(page))
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("update page: %w", err)
	}
	return nil
}

func thisMachine() machine {
	m := machine{CPUs: runtime.NumCPU(), Go: runtime.Version(), Kernel: "unknown kernel", CPU: "unknown CPU", Load: "unknown"}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = "Linux " + strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(b), " ")
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				m.CPU = strings.TrimSpace(v)
				break
			}
		}
	}
	return m
}
