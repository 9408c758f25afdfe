package main

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"
)

// spent is what it took to do something n times: wall-clock time, and CPU time
// of the processes that did it, in which other processes show much less.
type spent struct {
	wall, cpu time.Duration
	n         int
}

// eachWall and eachCPU are seconds for one of n.
func (s spent) eachWall() float64 { return s.wall.Seconds() / float64(s.n) }
func (s spent) eachCPU() float64  { return s.cpu.Seconds() / float64(s.n) }

// loop runs program n times, one after the other, from a shell of its own:
// fork, exec, wait, as scripts do.
func loop(ctx context.Context, program string, n int) (spent, error) {
	const script = `n=$2; while [ "$n" -gt 0 ]; do "$1"; n=$((n-1)); done`
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", script, "sh", program, strconv.Itoa(n))
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return spent{}, fmt.Errorf("run %s %d times: %w", program, n, err)
	}
	return spent{time.Since(began), childTime(cmd), n}, nil
}

// childTime is the CPU time of a command that has ended, and of those children
// that it waited for.
func childTime(cmd *exec.Cmd) time.Duration {
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// loops runs as many loops at a time as there are CPUs, so that the agent
// competes with the work for them.
func loops(ctx context.Context, program string, n int) (spent, error) {
	type done struct {
		spent
		err error
	}
	began := time.Now()
	results := make(chan done)
	for range runtime.NumCPU() {
		go func() {
			s, err := loop(ctx, program, n)
			results <- done{s, err}
		}()
	}
	var all spent
	var errs []error
	for range runtime.NumCPU() {
		d := <-results
		all.cpu += d.cpu
		all.n += d.n
		errs = append(errs, d.err)
	}
	all.wall = time.Since(began)
	return all, errors.Join(errs...)
}

// exiter writes the smallest program there is, one that only exits, so that
// nothing of its own run time hides what the agent adds to its exec.
func exiter(dir string) (string, error) {
	code, machine := []byte{0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05}, elf.EM_X86_64 // exit(0)
	if runtime.GOARCH == "arm64" {
		machine = elf.EM_AARCH64
		code = binary.LittleEndian.AppendUint32(nil, 0xd2800000)  // mov x0, #0
		code = binary.LittleEndian.AppendUint32(code, 0xd2800ba8) // mov x8, #93
		code = binary.LittleEndian.AppendUint32(code, 0xd4000001) // svc #0
	}
	const base, head = 0x400000, 64 + 56
	size := uint64(head + len(code))
	var b bytes.Buffer
	for _, v := range []any{
		elf.Header64{
			Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1,
			Entry: base + head, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
		},
		elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: base, Paddr: base, Filesz: size, Memsz: size, Align: 0x1000},
		code,
	} {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			return "", fmt.Errorf("make program: %w", err)
		}
	}
	path := filepath.Join(dir, "exit")
	if err := os.WriteFile(path, b.Bytes(), 0o755); err != nil {
		return "", fmt.Errorf("make program: %w", err)
	}
	return path, nil
}
