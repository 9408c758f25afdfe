package dns

import (
	"encoding/hex"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/merlon/merlon/internal/event"
)

// parse reads one whole message of classic DNS.
func parse(b []byte) *event.DNS {
	d := &event.DNS{Flavour: FlavourDNS}
	new(Parser).Parse(b, len(b), d)
	return d
}

func rr(t testing.TB, s string) dns.RR {
	t.Helper()
	r, err := dns.NewRR(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func pack(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestQuery(t *testing.T) {
	m := new(dns.Msg).SetQuestion("WWW.Example.COM.", dns.TypeAAAA)
	m.Id = 0x1234
	m.SetEdns0(1232, true)
	b := pack(t, m)
	want := &event.DNS{ID: 0x1234, Name: "www.example.com", Type: "AAAA", Recursion: true, EDNSSize: 1232,
		Flavour: FlavourDNS, Size: uint32(len(b))}
	if d := cmp.Diff(want, parse(b)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestAnswer(t *testing.T) {
	q := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA)
	m := new(dns.Msg).SetReply(q)
	m.Compress, m.Authoritative = true, true
	for _, s := range []string{
		"www.example.com. 300 IN CNAME Edge.Example.net.",
		"edge.example.net. 60 IN A 192.0.2.7",
		"edge.example.net. 61 IN AAAA 2001:db8::7",
		"example.net. 3600 IN MX 10 mail.example.net.",
		"_x._tcp.example.net. 1 IN SRV 1 2 443 edge.example.net.",
		`example.net. 5 IN TXT "one;" "two"`,
		"example.net. 5 IN CAA 0 issue \"ca.example\"",
	} {
		m.Answer = append(m.Answer, rr(t, s))
	}
	m.Ns = append(m.Ns, rr(t, "example.net. 9 IN SOA a. b. 1 2 3 4 5"))
	m.SetEdns0(4096, false)
	b := pack(t, m)
	want := &event.DNS{ID: m.Id, Response: true, Code: "NOERROR", Name: "www.example.com", Type: "A", Recursion: true,
		Authority: true, EDNSSize: 4096, Flavour: FlavourDNS, Size: uint32(len(b)), Answers: []event.DNSRecord{
			{Name: "www.example.com", Type: "CNAME", TTL: 300, Data: "edge.example.net"},
			{Name: "edge.example.net", Type: "A", TTL: 60, Data: "192.0.2.7"},
			{Name: "edge.example.net", Type: "AAAA", TTL: 61, Data: "2001:db8::7"},
			{Name: "example.net", Type: "MX", TTL: 3600, Data: "10 mail.example.net"},
			{Name: "_x._tcp.example.net", Type: "SRV", TTL: 1, Data: "1 2 443 edge.example.net"},
			{Name: "example.net", Type: "TXT", TTL: 5, Data: "one;two"},
			{Name: "example.net", Type: "CAA", TTL: 5, Data: "17 bytes"},
		}}
	if d := cmp.Diff(want, parse(b)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	for n := range b { // a message cut anywhere is malformed, or cut when that is known
		if d := parse(b[:n]); d.Malformed != errShort.Error() || d.Cut {
			t.Fatalf("%d bytes of %d: malformed %q, cut %v", n, len(b), d.Malformed, d.Cut)
		}
		d := &event.DNS{}
		if new(Parser).Parse(b[:n], len(b), d); d.Malformed != "" || !d.Cut || d.Size != uint32(len(b)) {
			t.Fatalf("%d bytes captured of %d: malformed %q, cut %v", n, len(b), d.Malformed, d.Cut)
		}
	}
}

func TestCodes(t *testing.T) {
	for code, want := range map[int]string{dns.RcodeNameError: "NXDOMAIN", dns.RcodeServerFailure: "SERVFAIL",
		dns.RcodeRefused: "REFUSED", dns.RcodeBadVers: "BADVERS", dns.RcodeBadCookie: "BADCOOKIE", 3000: "RCODE3000"} {
		m := new(dns.Msg).SetQuestion("gone.example.", dns.TypeTXT)
		m.Response = true
		if code > 15 {
			m.SetEdns0(512, false)
		}
		m.Rcode = code
		if got := parse(pack(t, m)).Code; got != want {
			t.Errorf("code %d: %q, want %q", code, got, want)
		}
	}
	m := new(dns.Msg).SetNotify("zone.example.")
	if d := parse(pack(t, m)); d.Opcode != "NOTIFY" || d.Code != "" || d.Type != "SOA" {
		t.Errorf("notify: %+v", d)
	}
}

// TestHostileNames reads labels that try to look like others, and pointers
// that lead nowhere.
func TestHostileNames(t *testing.T) {
	question := func(name string) []byte {
		return append([]byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"), name+"\x00\x01\x00\x01"...)
	}
	long := strings.Repeat("\x3f"+strings.Repeat("x", 63), 3)
	for _, c := range []struct{ what, wire, name, malformed string }{
		{"dot in a label", "\x0bexample.com\x04evil\x00", `example\.com.evil`, ""},
		{"backslash", "\x03a\\b\x00", `a\\b`, ""},
		{"control characters", "\x04\x00\x1b\xff \x00", `\000\027\255\032`, ""},
		{"root", "\x00", ".", ""},
		{"255 octets", long + "\x3d" + strings.Repeat("y", 61) + "\x00", strings.Repeat(strings.Repeat("x", 63)+".", 3) + strings.Repeat("y", 61), ""},
		{"256 octets", long + "\x3e" + strings.Repeat("y", 62) + "\x00", "", errLongName.Error()},
		{"pointer to itself", "\xc0\x0c", "", errLoop.Error()},
		{"pointers to each other", "\xc0\x0e\xc0\x0c", "", errLoop.Error()},
		{"growing loop", "\x01a\xc0\x0c", "", ""}, // either limit may strike first
		{"pointer behind the end", "\xff\xff", "", errShort.Error()},
		{"bit label", "\x41x\x00", "", errLabel.Error()},
	} {
		d := parse(question(c.wire))
		if c.what == "growing loop" {
			if d.Malformed == "" || d.Name != "" {
				t.Errorf("%s: %q, malformed %q", c.what, string(d.Name), d.Malformed)
			}
			continue
		}
		if string(d.Name) != c.name || d.Malformed != c.malformed {
			t.Errorf("%s: %q, malformed %q; want %q, %q", c.what, string(d.Name), d.Malformed, c.name, c.malformed)
		}
	}
}

func TestBounds(t *testing.T) {
	m := new(dns.Msg).SetQuestion("many.example.", dns.TypeA)
	m.Response, m.Compress = true, true
	for i := range 200 {
		m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: "many.example.", Rrtype: dns.TypeA, Class: 1, Ttl: uint32(i)}, A: net.IPv4(10, 0, 0, byte(i))})
	}
	m.SetEdns0(9000, false)
	d := parse(pack(t, m))
	if len(d.Answers) != MaxAnswers || d.Malformed != "" || d.EDNSSize != 9000 || d.Answers[63].Data != "10.0.0.63" {
		t.Errorf("%d answers, malformed %q, edns %d", len(d.Answers), d.Malformed, d.EDNSSize)
	}
	lie := []byte("\x00\x01\x80\x00\x00\x00\xff\xff\xff\xff\xff\xff")
	if d := parse(lie); d.Malformed == "" || cap(d.Answers) > 1 {
		t.Errorf("counts that lie: malformed %q, room for %d answers", d.Malformed, cap(d.Answers))
	}
	bad := []byte("\x00\x01\x80\x00\x00\x00\x00\x01\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01\x00\x00\x00\x05\x00\x03abc")
	if d := parse(bad); d.Malformed != errData.Error() || len(d.Answers) != 1 || d.Answers[0].Data != "3 bytes" {
		t.Errorf("an address of three bytes: %+v", d)
	}
}

// TestMulticast clears the flags in the classes (RFC 6762).
func TestMulticast(t *testing.T) {
	b := []byte("\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x04_ipp\x04_tcp\x05local\x00\x00\x0c\x80\x01\xc0\x0c\x00\x0c\x00\x01")
	d := &event.DNS{Flavour: FlavourMDNS}
	new(Parser).Parse(b, len(b), d)
	if d.Name != "_ipp._tcp.local" || d.Class != "" || d.Type != "PTR" || d.Malformed != "" {
		t.Errorf("%+v", d)
	}
	if c := parse(b).Class; c != "CLASS32769" {
		t.Errorf("class %q in classic DNS", c)
	}
}

// TestCaptured reads an answer byte for byte as a server sent it: RFC 1035
// compression, two addresses, EDNS.
func TestCaptured(t *testing.T) {
	b, err := hex.DecodeString("db42818000010002000000010377777706676f6f676c6503636f6d0000010001" +
		"c00c000100010000012c0004d83ad6e4" + "c00c000100010000012c00048efab864" + "0000290200000000000000")
	if err != nil {
		t.Fatal(err)
	}
	want := &event.DNS{ID: 0xdb42, Response: true, Code: "NOERROR", Name: "www.google.com", Type: "A", Recursion: true,
		EDNSSize: 512, Flavour: FlavourDNS, Size: uint32(len(b)), Answers: []event.DNSRecord{
			{Name: "www.google.com", Type: "A", TTL: 300, Data: "216.58.214.228"},
			{Name: "www.google.com", Type: "A", TTL: 300, Data: "142.250.184.100"}}}
	if d := cmp.Diff(want, parse(b)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func BenchmarkParse(b *testing.B) {
	q := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA)
	m := new(dns.Msg).SetReply(q)
	m.Compress = true
	m.Answer = append(m.Answer, rr(b, "www.example.com. 300 IN CNAME edge.example.net."), rr(b, "edge.example.net. 60 IN A 192.0.2.7"))
	answer, query := pack(b, m), pack(b, q)
	for name, msg := range map[string][]byte{"query": query, "answer": answer} {
		b.Run(name, func(b *testing.B) {
			var p Parser
			b.ReportAllocs()
			for b.Loop() {
				var d event.DNS
				p.Parse(msg, len(msg), &d)
			}
		})
	}
}
