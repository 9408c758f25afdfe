package needs

import (
	"slices"

	"github.com/merlon/merlon/internal/event"
)

// Need is one kind of event: who asks for it, and who reports it.
type Need struct {
	Kind    event.Kind
	Askers  []string // in the order in which they came
	Sensors []string // that know the kind
	Told    bool     // one of them has been told, without an error
}

// List returns every kind that a sensor knows or somebody asks for, in the
// order of the reference.
func (s *Set) List() []Need {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Need
	for _, k := range event.Kinds() {
		n := Need{Kind: k}
		for _, a := range s.askers {
			if slices.Contains(a.kinds, k) {
				n.Askers = append(n.Askers, a.name)
			}
		}
		for _, c := range s.sensors {
			if slices.Contains(c.info.Kinds, k) {
				n.Sensors = append(n.Sensors, c.info.Name)
				n.Told = n.Told || c.err == nil && slices.Contains(c.kinds, k)
			}
		}
		if len(n.Askers) > 0 && k != event.KindTask && k != event.KindLoss || len(n.Sensors) > 0 {
			list = append(list, n)
		}
	}
	return list
}

// Path is a file, or with a slash at its end a directory, whose reads somebody
// asks for.
type Path struct {
	Path   string
	Askers []string
}

// Paths returns the watched paths, sorted.
func (s *Set) Paths() []Path {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, paths := s.union()
	list := make([]Path, 0, len(paths))
	for _, p := range paths {
		one := Path{Path: p}
		for _, a := range s.askers {
			if slices.Contains(a.paths, p) {
				one.Askers = append(one.Askers, a.name)
			}
		}
		list = append(list, one)
	}
	return list
}
