package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Replace puts the program of the same name of the unit with in the place of
// this unit's, on every hook where this unit's is attached, pins included.
// There is no moment without a program: where the kernel can, the link is
// updated (XDP, TCX, netkit, cgroup, iterators, sk_lookup); elsewhere the new
// program attaches first and the old one goes after, so that an act in between
// is seen by both: the record appears twice, never not at all.
func (u *Unit) Replace(prog string, with *Unit) error {
	op := fmt.Sprintf("replace %s/%s", u.name, prog)
	if u == with {
		return fmt.Errorf("%s: by itself", op)
	}
	u.k.swap.Lock() // the one place that holds two units' locks
	defer u.k.swap.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	with.mu.Lock()
	defer with.mu.Unlock()
	p := with.progs[prog]
	if p == nil || with.specs[prog] == nil {
		return fmt.Errorf("%s: the new unit has no such program", op)
	}
	old := u.links[prog]
	if len(old) == 0 {
		return fmt.Errorf("%s: not attached", op)
	}
	for i, a := range old {
		if err := with.takeOver(prog, p, a); err != nil {
			u.links[prog] = old[i:]
			return u.k.explain(op, err)
		}
	}
	delete(u.links, prog)
	return u.movePins(with)
}

// takeOver makes p run where a runs, in u. Either a's link moves to u, or a is
// released after p got a link of its own.
func (u *Unit) takeOver(prog string, p *ebpf.Program, a *attachment) error {
	err := a.link.Update(p)
	if err == nil {
		u.links[prog] = append(u.links[prog], a)
		return nil
	}
	if !notUpdatable(err) {
		return fmt.Errorf("update link: %w", err)
	}
	l, err := u.k.attach(p, u.specs[prog], a.target)
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	fresh := &attachment{link: l, point: u.specs[prog].SectionName, target: a.target}
	if a.pin != "" {
		pin := a.pin
		_ = os.Remove(pin + "-new") // left by an agent that was killed
		if err := l.Pin(pin + "-new"); err != nil {
			return errors.Join(fmt.Errorf("pin link: %w", err), l.Close())
		}
		if err := os.Rename(pin+"-new", pin); err != nil {
			return errors.Join(fmt.Errorf("pin link: %w", err), os.Remove(pin+"-new"), l.Close())
		}
		fresh.pin, a.pin = pin, ""
	}
	u.links[prog] = append(u.links[prog], fresh)
	info, _ := a.link.Info() // a pinned link has it
	if err := a.release(); err != nil {
		return fmt.Errorf("detach the old program: %w", err)
	}
	if fresh.pin != "" && info != nil {
		awaitGone(info.ID)
	}
	return nil
}

// notUpdatable tells links that have no update from updates that failed
// (kernel/bpf/syscall.c: link_update).
func notUpdatable(err error) bool {
	return errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, enotsupp)
}

// movePins gives the pinned maps to the unit that now holds the pinned links.
func (u *Unit) movePins(with *Unit) error {
	if u.pinDir == "" {
		return nil
	}
	if err := with.pinMaps(&pinner{}, u.pinDir); err != nil {
		return u.k.explain("pin "+with.name, err)
	}
	with.pinDir = u.pinDir
	for _, as := range u.links {
		if len(as) > 0 {
			return nil // still pinned there itself
		}
	}
	entries, err := os.ReadDir(filepath.Join(u.pinDir, mapDir))
	if err != nil {
		return fmt.Errorf("read pins: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if with.maps[e.Name()] == nil {
			errs = append(errs, os.Remove(filepath.Join(u.pinDir, mapDir, e.Name())))
		}
	}
	u.pinDir = ""
	return errors.Join(errs...)
}
