package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// measureHooks lists the BPF links that the agent adds to the machine, by the
// kernel's word, and tells whether one of them slows system calls.
func measureHooks(ctx context.Context, s *settings) (_ []result, err error) {
	before, err := links()
	if err != nil {
		return nil, err
	}
	a, err := startAgent(ctx, s, "")
	if err != nil {
		return nil, fmt.Errorf("list hooks: %w", err)
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	after, err := links()
	if err != nil {
		return nil, err
	}
	var added, bad []string
	for id, point := range after {
		if _, ok := before[id]; ok {
			continue
		}
		added = append(added, point)
		if onSyscalls(point) {
			bad = append(bad, point)
		}
	}
	met := len(bad) == 0 && len(added) > 0
	note := fmt.Sprintf("%d links, none on a system call", len(added))
	if len(bad) > 0 {
		note = strings.Join(bad, ", ")
	}
	return []result{{Name: "hooks on raw_syscalls or syscalls:*", Value: float64(len(bad)), Unit: "links", Target: "= 0", Met: &met, Note: note}}, nil
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
func links() (map[linkID]string, error) {
	points := map[linkID]string{}
	it := new(link.Iterator)
	defer it.Close()
	for it.Next() {
		info, err := it.Link.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // gone since
		}
		if err != nil {
			return nil, fmt.Errorf("list links: %w", err)
		}
		points[it.ID] = point(info)
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return points, nil
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
	}
	return fmt.Sprintf("link of type %d", info.Type)
}
