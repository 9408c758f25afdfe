package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Configurations of the agent: every kind of event, whether a detector needs
// it or not.
const (
	allKinds    = "events:\n  kinds: [all]\n"
	fullProfile = "profile: full\n" + allKinds
)

// measureSensors compares work on files and sockets with and without an agent
// that reports every kind of event. The full profile is told beside it.
func measureSensors(ctx context.Context, s *settings) (_ []result, err error) {
	dir, err := os.MkdirTemp("", "merlon-bench-")
	if err != nil {
		return nil, fmt.Errorf("measure sensors: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	const own = "of the loop's thread, hooks included, agent not"
	works := []*work{
		{name: "open, read and close of a file", limit: 1.03, each: "cycle", whose: own, do: childWork("open", dir)},
		{name: "create, write, close and unlink of a file", each: "cycle", add: 3, whose: own, do: childWork("create", dir)},
		{name: "TCP connect, accept and close", limit: 1.05, each: "connection", whose: own, do: childWork("tcp", dir)},
	}
	var missing []error
	for _, more := range []func(context.Context, string) (*work, func() error, error){redisWork, nginxWork, compileWork} {
		w, stop, werr := more(ctx, dir)
		if werr != nil {
			missing = append(missing, werr)
			continue
		}
		defer func() { err = errors.Join(err, stop()) }()
		works = append(works, w)
	}
	c := newComparison(works, allKinds, state{name: "in the full profile", agent: true, config: fullProfile})
	if err := c.run(ctx, s); err != nil {
		return nil, fmt.Errorf("measure sensors: %w", err)
	}
	return c.results(), errors.Join(missing...)
}

func childWork(name, dir string) func(context.Context, int) (spent, error) {
	return func(ctx context.Context, n int) (spent, error) { return inChild(ctx, name, dir, n) }
}

func redisWork(ctx context.Context, _ string) (*work, func() error, error) {
	paths, err := need("redis-server", "redis-benchmark")
	if err != nil {
		return nil, nil, err
	}
	sv, err := startRedis(ctx, paths[0])
	if err != nil {
		return nil, nil, err
	}
	return &work{name: "redis-benchmark PING, 50 clients", limit: 1.03, least: 1000, whose: "of server and clients",
		do: func(ctx context.Context, n int) (spent, error) { return ping(ctx, sv, paths[1], n) }}, sv.stop, nil
}

func nginxWork(ctx context.Context, _ string) (*work, func() error, error) {
	paths, err := need("nginx", "wrk")
	if err != nil {
		return nil, nil, err
	}
	sv, err := startNginx(ctx, paths[0])
	if err != nil {
		return nil, nil, err
	}
	return &work{name: "nginx under wrk, 16 connections", limit: 1.03, whose: "of server and clients", n: int(slice / time.Millisecond),
		do: func(ctx context.Context, ms int) (spent, error) { return browse(ctx, sv, paths[1], ms) }}, sv.stop, nil
}

// compileWork compiles tiny files, or, without a compiler, does what looks
// like it to a sensor: programs that open many headers.
func compileWork(_ context.Context, dir string) (*work, func() error, error) {
	step, name := `cc -c -o "$1/$n.o" "$1/tiny.c" || exit 1; rm "$1/$n.o"`, "compile of tiny files"
	source := "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <errno.h>\nint main(void) { return puts(strerror(errno)); }\n"
	if _, err := exec.LookPath("cc"); err != nil {
		headers, err := filepath.Glob("/usr/include/*.h")
		if err != nil || len(headers) == 0 {
			return nil, nil, errors.New("neither a C compiler nor headers found; install with: scripts/install-deps.sh bench")
		}
		step, name = `grep -c define `+strings.Join(headers[:min(len(headers), 40)], " ")+` >"$1/$n.o"; rm "$1/$n.o"`, "grep over headers, for want of a compiler"
	}
	if err := os.WriteFile(filepath.Join(dir, "tiny.c"), []byte(source), 0o600); err != nil {
		return nil, nil, fmt.Errorf("prepare compile: %w", err)
	}
	script := `n=$2; while [ "$n" -gt 0 ]; do ` + step + `; n=$((n-1)); done`
	do := func(ctx context.Context, n int) (spent, error) {
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", script, "sh", dir, strconv.Itoa(n))
		began := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return spent{}, fmt.Errorf("run %s: %w: %s", name, err, out)
		}
		return spent{wall: time.Since(began), cpu: childTime(cmd), n: n}, nil
	}
	return &work{name: name, limit: 1.04, least: 4, whose: "of the shell and its children", do: do}, func() error { return nil }, nil
}
