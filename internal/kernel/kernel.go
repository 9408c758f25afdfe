// Package kernel probes, loads, attaches, pins and swaps BPF programs. It is
// the only package that loads or links BPF.
//
// Open makes the kernel's filesystems reachable and creates the shared maps of
// bpf/lib/event.h. Load turns a collection into a Unit, whose programs are
// attached and detached one by one while others read the rings. Rank and
// Mechanisms prove by canaries what this kernel can do; Counts, Programs, Maps
// and Links tell what runs.
//
// What is attached is held by BPF links, which go with the process: a SIGKILL
// leaves no hook behind, except pinned ones (which is what pins are for). It
// can leave a mount of tracefs, securityfs, bpffs or cgroup2, which the next
// Close undoes, and a canary's temporary directory or empty cgroup, which the
// next Mechanisms removes.
package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"
)

// Options configures Open. The zero value is usable.
type Options struct {
	BTFPath       string       // type information for CO-RE; empty takes the kernel's own
	CriticalBytes uint32       // size of the ring events_crit, a power of two times the page size; 0 as declared
	BulkBytes     uint32       // size of the ring events_bulk; 0 as declared
	PinDir        string       // where units are pinned; default /sys/fs/bpf/merlon
	Log           *slog.Logger // default discards
	Canary        []string     // command whose exec is the canary of Rank, harmless however often it runs; RunCanary fails without one
}

// Kernel is the running kernel as the agent uses it. Any goroutine may call
// its methods; Close comes last.
type Kernel struct {
	opts   Options
	log    *slog.Logger
	env    Environment
	btf    *btf.Spec // from Options.BTFPath; nil: the kernel's own
	cache  *btf.Cache
	mounts []heldMount
	shared map[string]*ebpf.Map // immutable after Open

	mu    sync.Mutex
	units map[*Unit]struct{}
	swap  sync.Mutex // held before two units' locks

	once     sync.Once // guards onceOnly
	onceOnly bool      // a trampoline program can be attached once only
}

// Open mounts what is missing, finds type information, lifts RLIMIT_MEMLOCK
// and creates the shared maps, or takes over pinned ones. It fails with an
// *Error when the agent could do nothing at all, without the capabilities for
// BPF for example. Whatever else is missing shows in the Environment.
func Open(ctx context.Context, o Options) (*Kernel, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open kernel: %w", err)
	}
	k := &Kernel{opts: o.withDefaults(), env: readEnvironment(), cache: btf.NewCache(), units: map[*Unit]struct{}{}}
	k.log = k.opts.Log
	if !k.env.canBPF() {
		return nil, k.explain("open kernel", os.ErrPermission)
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		k.env.MemlockLimited = true
		k.log.Warn("RLIMIT_MEMLOCK can't be raised", "err", err)
	}
	if err := k.mount(); err != nil {
		return nil, err
	}
	if err := k.findBTF(); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	if err := k.createShared(); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

func (o Options) withDefaults() Options {
	if o.PinDir == "" {
		o.PinDir = filepath.Join(usualPlace["bpf"], "merlon")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func (k *Kernel) mount() error {
	found, err := readMounts()
	if err != nil {
		return fmt.Errorf("open kernel: %w", err)
	}
	k.env.CgroupMode = cgroupMode(found)
	k.mounts = holdMounts(k.log)
	k.env.addMounts(k.mounts)
	if k.env.CgroupMode == "none" && k.env.CgroupPath != "" {
		k.env.CgroupMode = "v2"
	}
	return nil
}

// findBTF loads the configured file, or looks whether the kernel brings its
// own. A kernel without any is told at Load, where it matters.
func (k *Kernel) findBTF() error {
	if path := k.opts.BTFPath; path != "" {
		spec, err := btf.LoadSpec(path)
		if err != nil {
			return &Error{Op: "read BTF", Cause: fmt.Sprintf("the configured file can't be used: %v", err),
				Cure: "name a BTF file made for " + k.env.Release + ", or none where /sys/kernel/btf/vmlinux exists", Err: err}
		}
		k.btf, k.env.BTF = spec, path
		return nil
	}
	const own = "/sys/kernel/btf/vmlinux"
	if _, err := os.Stat(own); err == nil {
		k.env.BTF = own
	} else if _, err := k.cache.Kernel(); err == nil {
		k.env.BTF = "vmlinux file" // found at one of the usual places (libbpf's list)
	}
	return nil
}

// createShared creates the shared maps, or takes pinned ones that an earlier
// agent left with programs that still write to them.
func (k *Kernel) createShared() error {
	spec, err := sharedSpec()
	if err != nil {
		return err
	}
	sizes := map[string]uint32{sharedMapEventsCrit: k.opts.CriticalBytes, sharedMapEventsBulk: k.opts.BulkBytes}
	k.shared = make(map[string]*ebpf.Map, len(spec.Maps))
	for name, m := range spec.Maps {
		if sizes[name] != 0 {
			m.MaxEntries = sizes[name]
		}
		pin := filepath.Join(k.sharedPinDir(), name)
		old, err := ebpf.LoadPinnedMap(pin, nil)
		if err == nil && m.Compatible(old) == nil {
			k.shared[name] = old
			continue
		}
		if err == nil {
			k.log.Warn("a pinned map of an earlier agent has another size: it is not taken over", "map", name)
			_ = old.Close()
		}
		if k.shared[name], err = ebpf.NewMap(m); err != nil {
			delete(k.shared, name)
			return k.explain("create map "+name, err)
		}
	}
	return nil
}

func (k *Kernel) sharedPinDir() string { return filepath.Join(k.opts.PinDir, "shared") }

// sharedSpec returns the maps of bpf/lib/event.h.
func sharedSpec() (*ebpf.CollectionSpec, error) {
	spec, err := loadShared()
	if err != nil {
		return nil, fmt.Errorf("read shared maps: %w", err)
	}
	for name := range spec.Maps {
		if strings.HasPrefix(name, ".") { // .rodata
			delete(spec.Maps, name)
		}
	}
	return spec, nil
}

// Environment tells what this machine is and allows.
func (k *Kernel) Environment() Environment { return k.env }

// BTF returns the running kernel's types: from the configured file, else from
// the kernel.
func (k *Kernel) BTF() (*btf.Spec, error) {
	if k.btf != nil {
		return k.btf, nil
	}
	return k.cache.Kernel()
}

// Map returns a shared map, nil when there is none of that name. It belongs to
// the Kernel: the caller must not close it.
func (k *Kernel) Map(name string) *ebpf.Map { return k.shared[name] }

// Close closes every unit that is still open, the shared maps, and unmounts
// what Open mounted. What is pinned stays.
func (k *Kernel) Close() error {
	k.mu.Lock()
	units := make([]*Unit, 0, len(k.units))
	for u := range k.units {
		units = append(units, u)
	}
	k.mu.Unlock()
	var errs []error
	for _, u := range units {
		errs = append(errs, u.Close())
	}
	for _, m := range k.shared {
		errs = append(errs, m.Close())
	}
	k.shared = nil
	if k.mounts != nil {
		errs = append(errs, releaseMounts(k.mounts, k.log))
	}
	k.mounts = nil
	return errors.Join(errs...)
}
