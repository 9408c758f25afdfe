package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// measureHooks lists the BPF links that the agent adds to the machine, by the
// kernel's word, and tells which of them slow every system call: of the default
// configuration, with every kind of event on, and in the full profile.
func measureHooks(ctx context.Context, s *settings) ([]result, error) {
	name := "hooks on raw_syscalls or syscalls:*"
	var results []result
	for _, c := range []struct{ name, config string }{
		{name, ""}, {"the same, every kind of event on", allKinds}, {"the same in the full profile", fullProfile},
	} {
		added, err := linksOf(ctx, s, c.config)
		if err != nil {
			return results, err
		}
		var bad []string
		for _, point := range added {
			if onSyscalls(point) {
				bad = append(bad, point)
			}
		}
		r := result{Name: c.name, Value: float64(len(bad)), Unit: "links", Note: fmt.Sprintf("%d links, none on a system call", len(added))}
		if len(bad) > 0 {
			r.Note = fmt.Sprintf("%d links, with %s", len(added), strings.Join(bad, ", "))
		}
		if c.config != fullProfile {
			met := len(bad) == 0 && len(added) > 0
			r.Target, r.Met = "= 0", &met
		}
		results = append(results, r)
	}
	return results, nil
}

// linksOf returns where an agent of that configuration is attached.
func linksOf(ctx context.Context, s *settings, config string) (added []string, err error) {
	before, err := links()
	if err != nil {
		return nil, err
	}
	a, err := startAgent(ctx, s, config)
	if err != nil {
		return nil, fmt.Errorf("list hooks: %w", err)
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	after, err := links()
	if err != nil {
		return nil, err
	}
	for id, point := range after {
		if _, ok := before[id]; !ok {
			added = append(added, point)
		}
	}
	slices.Sort(added)
	return added, nil
}

// onSyscalls reports whether a hook runs at system calls: the raw tracepoints
// sys_enter and sys_exit, however attached, and those of the group syscalls.
func onSyscalls(point string) bool {
	name := strings.TrimPrefix(point, "btf_trace_")
	return strings.HasPrefix(name, "sys_enter") || strings.HasPrefix(name, "sys_exit")
}

type linkID = link.ID

// links returns what each BPF link of the machine is attached to: the name of
// the tracepoint or function, or the type of link where it has none.
func links() (points map[linkID]string, err error) {
	for range 20 {
		if points, err = tryLinks(); !errors.Is(err, unix.EAGAIN) {
			break // one was half made (bpf_link_by_id in kernel/bpf/syscall.c)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return points, nil
}

func tryLinks() (map[linkID]string, error) {
	points := map[linkID]string{}
	it := new(link.Iterator)
	defer it.Close()
	for it.Next() {
		info, err := it.Link.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // gone since
		}
		if err != nil {
			return nil, err
		}
		points[it.ID] = point(info)
	}
	return points, it.Err()
}

func point(info *link.Info) string {
	if i := info.RawTracepoint(); i != nil {
		return i.Name
	}
	if i := info.Tracing(); i != nil {
		spec, err := btf.LoadKernelSpec()
		if err != nil {
			return fmt.Sprintf("type %d", i.TargetBtfId)
		}
		t, err := spec.TypeByID(btf.TypeID(i.TargetBtfId))
		if err != nil {
			return fmt.Sprintf("type %d", i.TargetBtfId)
		}
		return t.TypeName()
	}
	if i := info.PerfEvent(); i != nil {
		if tp := i.Tracepoint(); tp != nil {
			return tp.Tracepoint
		}
		if kp := i.Kprobe(); kp != nil {
			return kp.Function
		}
	}
	return fmt.Sprintf("link of type %d", info.Type)
}
