package dns

import (
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/merlon/merlon/internal/event"
)

func seeds(f *testing.F) {
	q := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA)
	q.SetEdns0(1232, true)
	f.Add(pack(f, q))
	m := new(dns.Msg).SetReply(q)
	m.Compress = true
	for _, s := range []string{
		"www.example.com. 300 IN CNAME edge.example.net.", "edge.example.net. 60 IN A 192.0.2.7",
		"edge.example.net. 61 IN AAAA 2001:db8::7", "example.net. 3600 IN MX 10 mail.example.net.",
		"_x._tcp.example.net. 1 IN SRV 1 2 443 edge.example.net.", `example.net. 5 IN TXT "a\"b" "two"`,
		"7.2.0.192.in-addr.arpa. 5 IN PTR host.example.", "a.example. 5 IN DNAME b.example.",
		`we\.ird\000.example. 5 IN NS \\.`, `example. 1 IN CAA 0 issue "x"`,
	} {
		m.Answer = append(m.Answer, rr(f, s))
	}
	m.Ns = append(m.Ns, rr(f, "example.net. 9 IN SOA a. b. 1 2 3 4 5"))
	f.Add(pack(f, m))
	f.Add([]byte("\x00\x01\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\xc0\x0c\x00\x01\x00\x01"))
}

// FuzzParse: any bytes are read within bounds, whole or cut.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Parser
		for _, flavour := range []string{FlavourDNS, FlavourMDNS} {
			for _, size := range []int{len(b), len(b) + 1} {
				d := event.DNS{Flavour: flavour}
				p.Parse(b, size, &d)
				if len(d.Answers) > MaxAnswers || d.Cut != (size > len(b)) {
					t.Fatalf("%d answers, cut %v", len(d.Answers), d.Cut)
				}
				printable(t, d.Name)
				for i := range d.Answers {
					printable(t, d.Answers[i].Name)
				}
			}
		}
	})
}

// printable: a name is never more than four characters for an octet, and only
// printable ASCII without upper case.
func printable(t *testing.T, name event.Text) {
	t.Helper()
	if len(name) > 4*maxName {
		t.Fatalf("name of %d characters", len(name))
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c > '~' || c >= 'A' && c <= 'Z' {
			t.Fatalf("name %q", string(name))
		}
	}
}

// FuzzAgainstMiekg: what github.com/miekg/dns reads without complaint, counts
// included, we read without complaint and alike.
func FuzzAgainstMiekg(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var m dns.Msg
		if m.Unpack(append(b[:len(b):len(b)], 0)) != nil || m.Unpack(b) != nil || !countsHold(b, &m) {
			return // with one byte more, miekg notices what ends in the middle
		}
		d := parse(b)
		if d.Malformed != "" && !partialData(&m) {
			t.Fatalf("malformed %q, but miekg reads\n%v", d.Malformed, &m)
		}
		if d.ID != m.Id || d.Response != m.Response || d.Truncated != m.Truncated || d.Authority != m.Authoritative || d.Recursion != m.RecursionDesired {
			t.Fatalf("header %+v, miekg reads %v", d, m.MsgHdr)
		}
		if len(m.Question) > 0 {
			q := m.Question[0]
			sameName(t, d.Name, q.Name)
			if d.Type != typeName(q.Qtype) || d.Class != className(q.Qclass) {
				t.Fatalf("question %s %s, miekg reads %v", d.Type, d.Class, q)
			}
		}
		if d.Response && d.Code != codeName(uint16(m.Rcode)) {
			t.Fatalf("code %s, miekg reads %d", d.Code, m.Rcode)
		}
		if len(d.Answers) != min(len(m.Answer), MaxAnswers) {
			t.Fatalf("%d answers, miekg reads %d", len(d.Answers), len(m.Answer))
		}
		for i, a := range d.Answers {
			sameRecord(t, a, m.Answer[i])
		}
	})
}

// countsHold reports whether a message has what its header counts: miekg
// forgives when it ends early.
func countsHold(b []byte, m *dns.Msg) bool {
	n := func(i int) int { return int(b[i])<<8 | int(b[i+1]) }
	return len(m.Question) == n(4) && len(m.Answer) == n(6) && len(m.Ns) == n(8) && len(m.Extra) == n(10)
}

// partialData: miekg takes data that ends before its fields do, and none at
// all as dynamic updates have it; we tell the length of such.
func partialData(m *dns.Msg) bool { return slices.ContainsFunc(m.Answer, partial) }

func partial(r dns.RR) bool {
	if r.Header().Rdlength == 0 {
		return true
	}
	switch r := r.(type) {
	case *dns.MX:
		return r.Mx == ""
	case *dns.SRV:
		return r.Target == ""
	}
	return false
}

func sameRecord(t *testing.T, got event.DNSRecord, want dns.RR) {
	t.Helper()
	h := want.Header()
	sameName(t, got.Name, h.Name)
	if got.Type != typeName(h.Rrtype) || got.TTL != h.Ttl {
		t.Fatalf("record %+v, miekg reads %v", got, want)
	}
	if partial(want) {
		return
	}
	data := string(got.Data)
	last := event.Text(data[strings.LastIndexByte(data, ' ')+1:])
	switch r := want.(type) {
	case *dns.A:
		if data != r.A.String() {
			t.Fatalf("address %q, miekg reads %v", data, r.A)
		}
	case *dns.AAAA:
		if data != r.AAAA.String() && "::ffff:"+r.AAAA.String() != data {
			t.Fatalf("address %q, miekg reads %v", data, r.AAAA)
		}
	case *dns.CNAME:
		sameName(t, got.Data, r.Target)
	case *dns.NS:
		sameName(t, got.Data, r.Ns)
	case *dns.PTR:
		sameName(t, got.Data, r.Ptr)
	case *dns.DNAME:
		sameName(t, got.Data, r.Target)
	case *dns.MX:
		sameName(t, last, r.Mx)
	case *dns.SRV:
		sameName(t, last, r.Target)
	case *dns.TXT:
		want := ""
		for _, s := range r.Txt {
			want += unescape(s)
		}
		if data != want {
			t.Fatalf("text %q, miekg reads %q", data, want)
		}
	}
}

// sameName compares a name of ours with one of miekg's, which escapes more,
// keeps case, and ends with a dot.
func sameName(t *testing.T, got event.Text, want string) {
	t.Helper()
	if want != "." {
		want = strings.TrimSuffix(want, ".")
	}
	var wire [300]byte
	off, err := dns.PackDomainName(dns.Fqdn(want), wire[:], 0, nil, false)
	if err != nil {
		t.Fatalf("pack %q: %v", want, err)
	}
	text, _, err := appendName(nil, wire[:off], 0)
	if err != nil || string(text) != string(got) {
		t.Fatalf("name %q, miekg reads %q (%v)", string(got), want, err)
	}
}

// unescape takes the escapes of a presentation string back.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\' || i+1 >= len(s):
			b.WriteByte(s[i])
		case s[i+1] >= '0' && s[i+1] <= '9' && i+3 < len(s):
			b.WriteByte((s[i+1]-'0')*100 + (s[i+2]-'0')*10 + s[i+3] - '0')
			i += 3
		default:
			b.WriteByte(s[i+1])
			i++
		}
	}
	return b.String()
}
