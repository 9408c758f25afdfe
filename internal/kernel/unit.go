package kernel

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// LoadOptions chooses what of a collection is loaded, and how.
type LoadOptions struct {
	Name     string            // names the unit in errors, statistics and pins
	Programs []string          // load only these and the maps they use; none loads all
	Knobs    map[string]any    // values of .rodata variables
	Sizes    map[string]uint32 // max_entries of maps that are not shared, instead of the declared ones
}

// Unit is a set of loaded programs with their maps. Any goroutine may call its
// methods. Programs are loaded detached.
type Unit struct {
	k     *Kernel
	name  string
	specs map[string]*ebpf.ProgramSpec // without instructions; nil entries for adopted programs

	mu     sync.Mutex
	progs  map[string]*ebpf.Program
	maps   map[string]*ebpf.Map
	links  map[string][]*attachment
	idle   map[string]bool // attached, and let go as far as this kernel lets us: see Detach
	closed bool
	pinDir string // where maps and links are pinned; empty when nothing is
}

// Load loads the named programs of spec, with the shared maps injected. spec
// is copied and stays as it is. A refusal comes back as an *Error.
func (k *Kernel) Load(spec *ebpf.CollectionSpec, o LoadOptions) (*Unit, error) {
	return k.load(spec, o, k.shared)
}

// load loads with those maps injected; shared maps that are not among them
// become the unit's own.
func (k *Kernel) load(spec *ebpf.CollectionSpec, o LoadOptions, inject map[string]*ebpf.Map) (*Unit, error) {
	spec = spec.Copy()
	if err := setKnobs(spec, o.Knobs); err != nil {
		return nil, fmt.Errorf("load %s: %w", o.Name, err)
	}
	if err := trim(spec, o.Programs); err != nil {
		return nil, fmt.Errorf("load %s: %w", o.Name, err)
	}
	replace := map[string]*ebpf.Map{}
	for name, m := range spec.Maps {
		if sm := inject[name]; sm != nil {
			m.MaxEntries = sm.MaxEntries()
			replace[name] = sm
		} else if n := o.Sizes[name]; n != 0 {
			m.MaxEntries = n
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		MapReplacements: replace,
		Cache:           k.cache,
		Programs:        ebpf.ProgramOptions{KernelTypes: k.btf},
	})
	if err != nil {
		return nil, k.explain("load "+o.Name, err)
	}
	u := &Unit{k: k, name: o.Name, specs: spec.Programs, progs: coll.Programs, maps: coll.Maps, links: map[string][]*attachment{}, idle: map[string]bool{}}
	for _, p := range u.specs {
		p.Instructions = nil
	}
	k.own(u)
	return u, nil
}

func (k *Kernel) own(u *Unit) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.units[u] = struct{}{}
}

func (k *Kernel) disown(u *Unit) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.units, u)
}

// list returns the open units, by name.
func (k *Kernel) list() []*Unit {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.SortedFunc(maps.Keys(k.units), func(a, b *Unit) int {
		switch {
		case a.name < b.name:
			return -1
		case a.name > b.name:
			return 1
		}
		return 0
	})
}

// Name returns the unit's name.
func (u *Unit) Name() string { return u.name }

// Map returns a map of the unit, a shared one included; nil when it has none
// of that name. It belongs to the unit.
func (u *Unit) Map(name string) *ebpf.Map {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.maps[name]
}

// Program returns a program of the unit, nil when it has none of that name. It
// belongs to the unit.
func (u *Unit) Program(name string) *ebpf.Program {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.progs[name]
}

// Attached returns the names of the programs that are attached, sorted.
func (u *Unit) Attached() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	names := slices.Sorted(maps.Keys(u.links))
	return slices.DeleteFunc(names, func(n string) bool { return u.idle[n] })
}

// Detach takes a program from all its hooks, and removes its pin. Detaching
// what is not attached does nothing. Before Linux 5.13 (f3a95075549e) a
// trampoline program can be attached once in its life: there it stays attached
// until Close, and it is for its owner to keep it silent.
func (u *Unit) Detach(prog string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.links[prog]) > 0 && u.trampoline(prog) && u.k.trampolinesOnce() {
		u.idle[prog] = true
		return nil
	}
	return u.detach(prog)
}

// trampoline reports whether the program is attached by a trampoline.
func (u *Unit) trampoline(prog string) bool {
	s := u.specs[prog]
	return s != nil && s.Type == ebpf.Tracing && slices.Contains([]ebpf.AttachType{
		ebpf.AttachTraceFEntry, ebpf.AttachTraceFExit, ebpf.AttachModifyReturn}, s.AttachType)
}

// onceCanary is the trampoline program that is attached twice.
const onceCanary = "c_fentry"

// trampolinesOnce learns, with a canary, whether this kernel attaches a
// trampoline program once only. It is tried once.
func (k *Kernel) trampolinesOnce() bool {
	k.once.Do(func() {
		spec, err := loadCanary()
		if err != nil {
			return
		}
		u, err := k.load(spec, LoadOptions{Name: "canary", Programs: []string{onceCanary}}, nil)
		if err != nil {
			return // no trampolines at all
		}
		defer func() { _ = u.Close() }() // it did what it was for
		if u.Attach(onceCanary) != nil {
			return
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		if err := errors.Join(u.detach(onceCanary), u.attach(onceCanary, Target{})); err != nil {
			k.log.Info("this kernel attaches a trampoline program once only: what is let go stays attached, and silent", "err", err)
			k.onceOnly = true
		}
	})
	return k.onceOnly
}

func (u *Unit) detach(prog string) error {
	var errs []error
	for _, a := range u.links[prog] {
		errs = append(errs, a.release())
	}
	delete(u.links, prog)
	errs = append(errs, u.unpinMaps())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("detach %s/%s: %w", u.name, prog, err)
	}
	return nil
}

// Iterate runs an iterator program once: reading from what it returns runs the
// program over the kernel's objects. The caller closes it.
func (u *Unit) Iterate(prog string) (io.ReadCloser, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.progs[prog]
	if p == nil {
		return nil, fmt.Errorf("iterate %s/%s: no such program", u.name, prog)
	}
	for _, a := range u.links[prog] {
		if it, ok := a.link.(*link.Iter); ok {
			return u.open(prog, it)
		}
	}
	it, err := link.AttachIter(link.IterOptions{Program: p})
	if err != nil {
		return nil, u.k.explain("attach "+u.name+"/"+prog, err)
	}
	defer it.Close() // the open iterator holds the program
	return u.open(prog, it)
}

func (u *Unit) open(prog string, it *link.Iter) (io.ReadCloser, error) {
	r, err := it.Open()
	if err != nil {
		return nil, u.k.explain("iterate "+u.name+"/"+prog, err)
	}
	return r, nil
}

// Close detaches what is not pinned and unloads the unit. What is pinned goes
// on without us. Closing twice does nothing.
func (u *Unit) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil
	}
	u.closed = true
	u.k.disown(u)
	var errs []error
	for _, as := range u.links {
		for _, a := range as {
			if a.pin == "" {
				errs = append(errs, a.release())
			} else {
				errs = append(errs, a.link.Close())
			}
		}
	}
	for _, p := range u.progs {
		errs = append(errs, p.Close())
	}
	for _, m := range u.maps {
		errs = append(errs, m.Close())
	}
	u.links, u.progs, u.maps = nil, nil, nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close %s: %w", u.name, err)
	}
	return nil
}
