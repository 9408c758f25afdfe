package record

// Status says how far a path was followed: enum path_status of bpf/lib/path.h.
type Status uint8

// The states of a path. Any other is a fault.
const (
	PathOK      Status = 0
	PathOutside Status = 1 // not below the root of the process: begins nowhere
	PathDeep    Status = 2 // deeper than the program follows: its front is missing
)

// Unresolved returns what event.File's field of that name says.
func (s Status) Unresolved() string {
	switch s {
	case PathOK:
		return ""
	case PathOutside:
		return "outside_root"
	case PathDeep:
		return "too_deep"
	}
	return "fault"
}

// Texts collects strings in one buffer, so that an event costs one allocation
// for all of them: Reset, Add while decoding, Seal, then Get.
type Texts struct {
	buf  []byte
	text string
}

// Span is the place of one string in Texts.
type Span struct{ From, To int }

// Reset forgets all strings.
func (t *Texts) Reset() { t.buf, t.text = t.buf[:0], "" }

// Add appends a copy of b.
func (t *Texts) Add(b []byte) Span {
	from := len(t.buf)
	t.buf = append(t.buf, b...)
	return Span{from, len(t.buf)}
}

// AddPath adds the path whose components, each followed by '/', lie in b leaf
// first, as path.h writes them. A path that does not begin at the root gets no
// leading slash when it is a single name without a place (memfd:x), and "…" in
// front when cut.
func (t *Texts) AddPath(b []byte, status Status) Span {
	from := len(t.buf)
	if status == PathDeep {
		t.buf = append(t.buf, "…"...)
	}
	placed := status != PathOutside
	if len(b) == 0 && status == PathOK {
		t.buf = append(t.buf, '/')
	}
	for end := len(b); end > 0; {
		start := end - 1 // the slash behind the component
		for start > 0 && b[start-1] != '/' {
			start--
		}
		if placed || end != len(b) {
			t.buf = append(t.buf, '/')
		}
		t.buf = append(t.buf, b[start:end-1]...)
		end = start
	}
	return Span{from, len(t.buf)}
}

// Bytes returns a string before Seal; valid until the next Add.
func (t *Texts) Bytes(s Span) []byte { return t.buf[s.From:s.To] }

// Seal makes the strings, in one allocation.
func (t *Texts) Seal() { t.text = string(t.buf) }

// Get returns a string after Seal.
func (t *Texts) Get(s Span) string { return t.text[s.From:s.To] }
