package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

const (
	linkDir = "links"
	mapDir  = "maps"
)

// Pin makes the unit outlive the agent: it pins what is attached and all maps
// under dir, program arrays included (a tail call needs them), and the shared
// maps beside the other pins, so that the next agent reads on where this one
// stopped. An empty dir is <Options.PinDir>/<name of the unit>. What is
// attached later is not pinned until Pin is called again. Pinning pins all or,
// on error, nothing new; kprobes and tracepoints can't be pinned before 5.15.
func (u *Unit) Pin(dir string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if dir == "" {
		dir = filepath.Join(u.k.opts.PinDir, u.name)
	}
	op := "pin " + u.name
	if u.k.env.BPFFS == "" {
		return &Error{Op: op, Cause: "bpffs is not mounted at /sys/fs/bpf", Cure: "mount -t bpf bpf /sys/fs/bpf", Err: fs.ErrNotExist}
	}
	p := pinner{}
	err := u.pinMaps(&p, dir)
	for name, as := range u.links {
		for i, a := range as {
			if err == nil && a.pin == "" {
				err = p.link(a, filepath.Join(dir, linkDir, pinName(name, i)))
			}
		}
	}
	if err == nil {
		u.pinDir = dir
		return nil
	}
	p.undo()
	if errors.Is(err, ebpf.ErrNotSupported) {
		return &Error{Op: op, Cause: "this kernel can't pin kprobe and tracepoint links (Linux 5.15 can)", Cure: cureKernel, Err: err}
	}
	return u.k.explain(op, err)
}

// pinMaps pins the unit's maps. Data sections have names that bpffs refuses;
// the programs hold them.
func (u *Unit) pinMaps(p *pinner, dir string) error {
	for name, m := range u.maps {
		at := filepath.Join(dir, mapDir, name)
		switch {
		case strings.Contains(name, "."):
			continue
		case u.k.shared[name] != nil:
			at = filepath.Join(u.k.sharedPinDir(), name)
		}
		if err := p.pinMap(m, at); err != nil {
			return err
		}
	}
	return nil
}

// pinName tells the links of one program apart.
func pinName(prog string, i int) string {
	if i == 0 {
		return prog
	}
	return fmt.Sprintf("%s-%d", prog, i)
}

// pinner pins objects and remembers which, so that they can be unpinned.
type pinner struct{ undos []func() }

func (p *pinner) undo() {
	for _, f := range p.undos {
		f()
	}
}

func (p *pinner) link(a *attachment, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("pin link: %w", err)
	}
	if err := a.link.Pin(path); err != nil {
		tidy(filepath.Dir(path))
		return fmt.Errorf("pin link: %w", err)
	}
	a.pin = path
	p.undos = append(p.undos, func() {
		_ = os.Remove(path) // the error to tell is the one that led here
		a.pin = ""
		tidy(filepath.Dir(path))
	})
	return nil
}

// pinMap pins a copy of m's handle, so that m itself knows nothing of it. What
// is pinned there already is replaced in one step if it is another map.
func (p *pinner) pinMap(m *ebpf.Map, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("pin map: %w", err)
	}
	if old, err := ebpf.LoadPinnedMap(path, nil); err == nil {
		same := sameMap(old, m)
		_ = old.Close() // only looked at
		if same {
			return nil
		}
	}
	c, err := m.Clone()
	if err != nil {
		return fmt.Errorf("pin map: %w", err)
	}
	defer c.Close()
	fresh := path + "-new"
	_ = os.Remove(fresh) // left by an agent that was killed
	if err := c.Pin(fresh); err != nil {
		return fmt.Errorf("pin map: %w", err)
	}
	if err := os.Rename(fresh, path); err != nil {
		return errors.Join(fmt.Errorf("pin map: %w", err), os.Remove(fresh))
	}
	p.undos = append(p.undos, func() {
		_ = os.Remove(path) // the error to tell is the one that led here
		tidy(filepath.Dir(path))
	})
	return nil
}

func sameMap(a, b *ebpf.Map) bool {
	ai, err1 := a.Info()
	bi, err2 := b.Info()
	if err1 != nil || err2 != nil {
		return false
	}
	ida, ok1 := ai.ID()
	idb, ok2 := bi.ID()
	return ok1 && ok2 && ida == idb
}

// tidy removes dir and its parents in bpffs while they are empty.
func tidy(dir string) {
	for dir != usualPlace["bpf"] && strings.HasPrefix(dir, usualPlace["bpf"]) {
		if os.Remove(dir) != nil {
			return
		}
		dir = filepath.Dir(dir)
	}
}

// Unpin removes the unit's pins. What is attached stays so until Close. The
// shared maps are unpinned with the last unit.
func (u *Unit) Unpin() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	var errs []error
	for _, as := range u.links {
		for _, a := range as {
			errs = append(errs, removePin(a.pin))
			a.pin = ""
		}
	}
	errs = append(errs, u.unpinMaps())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("unpin %s: %w", u.name, err)
	}
	return nil
}

func removePin(path string) error {
	if path == "" {
		return nil
	}
	defer tidy(filepath.Dir(path))
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// unpinMaps removes the pins of maps once no link of the unit is pinned.
func (u *Unit) unpinMaps() error {
	if u.pinDir == "" {
		return nil
	}
	for _, as := range u.links {
		for _, a := range as {
			if a.pin != "" {
				return nil
			}
		}
	}
	dir := u.pinDir
	u.pinDir = ""
	err := errors.Join(removeAll(filepath.Join(dir, mapDir)), removeAll(filepath.Join(dir, linkDir)))
	tidy(dir)
	if units, _ := filepath.Glob(filepath.Join(u.k.opts.PinDir, "*", linkDir)); len(units) == 0 {
		err = errors.Join(err, removeAll(u.k.sharedPinDir()))
	}
	return err
}

// removeAll removes the pins in dir, then dir.
func removeAll(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		errs = append(errs, os.Remove(filepath.Join(dir, e.Name())))
	}
	tidy(dir)
	return errors.Join(errs...)
}

// Adopt takes over what an earlier agent pinned under dir: its links, their
// programs and its maps, by name. Adopted programs can be detached, or
// replaced by those of a unit that was loaded here. An empty dir of pins gives
// fs.ErrNotExist.
func (k *Kernel) Adopt(dir string) (*Unit, error) {
	u := &Unit{k: k, name: filepath.Base(dir), pinDir: dir, specs: map[string]*ebpf.ProgramSpec{},
		progs: map[string]*ebpf.Program{}, maps: map[string]*ebpf.Map{}, links: map[string][]*attachment{}, idle: map[string]bool{}}
	err := u.adoptLinks(filepath.Join(dir, linkDir))
	if err == nil {
		err = u.adoptMaps(filepath.Join(dir, mapDir))
	}
	k.own(u)
	if err != nil {
		return nil, errors.Join(k.explain("adopt "+u.name, err), u.Close())
	}
	return u, nil
}

func (u *Unit) adoptLinks(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read pins: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		l, err := link.LoadPinnedLink(path, nil)
		if err != nil {
			return fmt.Errorf("load pin %s: %w", path, err)
		}
		name, _, _ := strings.Cut(e.Name(), "-")
		a := &attachment{link: l, pin: path}
		u.links[name] = append(u.links[name], a)
		info, err := l.Info()
		if err != nil {
			return fmt.Errorf("load pin %s: %w", path, err)
		}
		a.point = u.k.point(info)
		if u.progs[name] != nil {
			continue
		}
		if u.progs[name], err = ebpf.NewProgramFromID(info.Program); err != nil {
			delete(u.progs, name)
			return fmt.Errorf("load pin %s: %w", path, err)
		}
	}
	return nil
}

func (u *Unit) adoptMaps(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read pins: %w", err)
	}
	for _, e := range entries {
		m, err := ebpf.LoadPinnedMap(filepath.Join(dir, e.Name()), nil)
		if err != nil {
			return fmt.Errorf("load pin %s: %w", e.Name(), err)
		}
		u.maps[e.Name()] = m
	}
	return nil
}
