package app

// Seen remembers the latest ids, up to a bound. One goroutine uses it.
type Seen struct {
	ids  map[string]struct{}
	ring []string // the ids in the order they came; next is the oldest
	next int
}

// NewSeen makes a memory of at most n ids, n above zero.
func NewSeen(n int) *Seen { return &Seen{ids: map[string]struct{}{}, ring: make([]string, 0, n)} }

// Add reports whether id is new. A new one takes the place of the oldest.
func (s *Seen) Add(id string) bool {
	if _, known := s.ids[id]; known {
		return false
	}
	if len(s.ring) < cap(s.ring) {
		s.ring = append(s.ring, id)
	} else {
		delete(s.ids, s.ring[s.next])
		s.ring[s.next] = id
		s.next = (s.next + 1) % len(s.ring)
	}
	s.ids[id] = struct{}{}
	return true
}
