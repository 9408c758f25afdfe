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
	spent  map[string]bool // trampoline programs that were let go
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
	u := &Unit{k: k, name: o.Name, specs: spec.Programs, progs: coll.Programs, maps: coll.Maps, links: map[string][]*attachment{}}
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
	return slices.Sorted(maps.Keys(u.links))
}

// Detach takes a program from all its hooks, and removes its pin. Detaching
// what is not attached does nothing.
func (u *Unit) Detach(prog string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.detach(prog)
}

func (u *Unit) detach(prog string) error {
	var errs []error
	for _, a := range u.links[prog] {
		errs = append(errs, a.release())
		if p := u.progs[prog]; p != nil && p.Type() == ebpf.Tracing {
			if u.spent == nil {
				u.spent = make(map[string]bool)
			}
			u.spent[prog] = true
		}
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
