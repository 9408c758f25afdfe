// Package names remembers which names were asked for to get which addresses,
// so that connections show the name they were made for.
//
// A name is what an answer said, to whomever it was said: the answers that the
// connecting process itself got come first, then those of its container, then
// the latest of the host. Names are kept for their TTL, a minute at least and a
// day at most, and the ones used longest ago go first when there are too many.
package names

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/merlon/merlon/internal/event"
)

// Bounds of how long a name is kept: shorter TTLs are common, and connections
// often come later than they say.
const (
	minTTL = time.Minute
	maxTTL = 24 * time.Hour
)

const (
	// sameAddress is the most names that one address has: large providers
	// serve thousands from one.
	sameAddress = 32
	// aliases is the longest chain of CNAME records that is followed.
	aliases = 16
	// skew is how much later than a connection an answer may seem to have come:
	// the two are seen on different CPUs.
	skew = uint64(10 * time.Millisecond)
)

// Options bounds an Enricher. A zero field takes its default.
type Options struct {
	Limit int // pairs of address and name; default 65536
}

// Enricher sets Net.Domain. It runs behind the process tree, which finds the
// process of an event.
//
// One goroutine calls Enrich; Size may be called from any.
type Enricher struct {
	limit  int
	byAddr map[string]*entry // the newest of an address
	used   entry             // ring of all entries: next is the one used last
	size   atomic.Int64
}

// entry is one name of one address, as one process or one container asked for
// it.
type entry struct {
	prev, next *entry // in the order of use
	older      *entry // of the same address
	addr       string
	name       string
	asker      event.Key
	container  string
	first      uint64 // boot time of the first answer
	until      uint64 // boot time at which it ends
}

// New returns an Enricher that knows nothing.
func New(o Options) *Enricher {
	if o.Limit <= 0 {
		o.Limit = 65536
	}
	e := &Enricher{limit: o.Limit, byAddr: make(map[string]*entry)}
	e.used.prev, e.used.next = &e.used, &e.used
	return e
}

// Name returns "names".
func (e *Enricher) Name() string { return "names" }

// Size returns how many names are held and the most that will be.
func (e *Enricher) Size() (n, limit int) { return int(e.size.Load()), e.limit }

// Enrich learns from answers and names the peers of connections made here.
func (e *Enricher) Enrich(ev *event.Event) {
	switch ev.Kind {
	case event.KindDNS:
		if d := ev.DNS; d != nil && d.Response && d.Direction == "in" && d.Code == "NOERROR" && len(d.Answers) > 0 {
			e.learn(ev, d)
		}
	case event.KindNetConnect, event.KindNetFlow, event.KindNetClose:
		if n := ev.Net; n != nil && n.Direction != "in" && n.RemoteAddr != "" && n.Domain == "" {
			n.Domain = e.find(ev, n)
		}
	}
}

// learn takes the addresses of an answer from a server's port.
func (e *Enricher) learn(ev *event.Event, d *event.DNS) {
	switch d.RemotePort {
	case 53, 5353, 5355:
	default:
		return
	}
	var chain [aliases + 1]event.Text
	n := 0
	if d.Name != "" {
		chain[0], n = d.Name, 1
		n = follow(d.Answers, chain[:])
	}
	for i := range d.Answers {
		a := &d.Answers[i]
		if a.Type != "A" && a.Type != "AAAA" || strings.HasSuffix(string(a.Data), "bytes") {
			continue
		}
		name := d.Name
		switch {
		case n == 0: // multicast answers repeat no question
			name = a.Name
		case !contains(chain[:n], a.Name):
			continue // not what was asked for
		}
		ttl := min(max(time.Duration(a.TTL)*time.Second, minTTL), maxTTL)
		e.add(ev, string(a.Data), string(name), ev.Boot+uint64(ttl))
	}
}

// follow fills chain with the names that its first leads to, and returns how
// many there are.
func follow(answers []event.DNSRecord, chain []event.Text) int {
	n := 1
	for again := true; again; {
		again = false
		for i := range answers {
			a := &answers[i]
			if n < len(chain) && a.Type == "CNAME" && a.Name == chain[n-1] && !contains(chain[:n], a.Data) {
				chain[n] = a.Data
				n++
				again = true
			}
		}
	}
	return n
}

func contains(list []event.Text, t event.Text) bool {
	for _, x := range list {
		if x == t {
			return true
		}
	}
	return false
}

func asker(ev *event.Event) (key event.Key, container string) {
	p := ev.Process
	if p == nil {
		return key, ""
	}
	if p.Container != nil {
		container = p.Container.ID
	}
	return p.Key(), container
}
