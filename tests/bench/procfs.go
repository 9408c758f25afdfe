package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// anonymous returns the anonymous resident memory of a process in bytes
// (proc_pid_smaps(5)): its heaps and stacks, without the binary's pages and
// without the rings, which are kernel memory that it only maps.
func anonymous(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		rest, ok := strings.CutPrefix(s.Text(), "Anonymous:")
		if !ok {
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read memory: %w", err)
		}
		return kb << 10, nil
	}
	return 0, fmt.Errorf("read memory: no Anonymous in smaps_rollup of %d", pid)
}

// cpuTime returns the CPU time of all threads that a process has now, to the
// nanosecond where the kernel keeps it so (proc_pid_schedstat: the first
// number), else in clock ticks.
func cpuTime(pid int) (time.Duration, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		return cpuTicks(pid)
	}
	var sum time.Duration
	for _, t := range tasks {
		b, err := os.ReadFile(t)
		if err != nil {
			continue // the thread has just ended
		}
		first, _, _ := strings.Cut(string(b), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read CPU time: %w", err)
		}
		sum += time.Duration(ns)
	}
	if sum == 0 {
		return cpuTicks(pid) // CONFIG_SCHED_INFO is off
	}
	return sum, nil
}

// cpuTicks returns utime + stime of proc_pid_stat(5), in hundredths of a
// second (USER_HZ).
func cpuTicks(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("read CPU time: stat of %d is short", pid)
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read CPU time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// ringBytes returns the sum of the data areas of all BPF ring buffers that a
// process holds open, from its fdinfo: the kernel's word, not the agent's.
func ringBytes(pid int) (int64, error) {
	const ringbuf = "27" // BPF_MAP_TYPE_RINGBUF, include/uapi/linux/bpf.h
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		return 0, fmt.Errorf("read rings: %w", err)
	}
	seen := map[string]bool{}
	var sum int64
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // closed since
		}
		info := fields(string(b))
		if info["map_type"] != ringbuf || seen[info["map_id"]] {
			continue
		}
		seen[info["map_id"]] = true
		n, err := strconv.ParseInt(info["max_entries"], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read rings: %w", err)
		}
		sum += n
	}
	return sum, nil
}

// fields splits "key:\tvalue" lines.
func fields(s string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(s) {
		if k, v, ok := strings.Cut(line, ":"); ok {
			m[k] = strings.TrimSpace(v)
		}
	}
	return m
}
