package dns

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/merlon/merlon/internal/event"
)

// exchange asks a server from this process.
func exchange(t *testing.T, network, addr string, q *dns.Msg) *dns.Msg {
	t.Helper()
	c := &dns.Client{Net: network, Timeout: 20 * time.Second}
	m, _, err := c.Exchange(q, addr)
	if err != nil {
		t.Fatalf("ask %s over %s: %v", addr, network, err)
	}
	return m
}

// TestAnswers: codes, EDNS and names that look like others, as the asker sees them.
func TestAnswers(t *testing.T) {
	h := start(t)
	serve(t, server, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		switch {
		case strings.HasPrefix(q.Question[0].Name, "gone."):
			m.SetRcode(q, dns.RcodeNameError)
		case strings.HasPrefix(q.Question[0].Name, "vers."):
			m.SetEdns0(4096, false)
			m.Rcode = dns.RcodeBadVers
		case q.Question[0].Qtype == dns.TypeTXT:
			m.Answer = append(m.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: 1, Ttl: 5},
				Txt: []string{`\000\027[2J`, "x"}})
		}
		_ = w.WriteMsg(m)
	})
	exchange(t, "udp", server, new(dns.Msg).SetQuestion("gone.merlon.test.", dns.TypeAAAA))
	if ev := h.of("gone.merlon.test", "in", true); ev.DNS.Code != "NXDOMAIN" || ev.DNS.Type != "AAAA" || len(ev.DNS.Answers) != 0 {
		t.Errorf("%+v", ev.DNS)
	}
	q := new(dns.Msg).SetQuestion("vers.merlon.test.", dns.TypeA)
	q.SetEdns0(1400, true)
	exchange(t, "udp", server, q)
	if ev := h.of("vers.merlon.test", "out", false); ev.DNS.EDNSSize != 1400 || ev.DNS.Code != "" {
		t.Errorf("%+v", ev.DNS)
	}
	if ev := h.of("vers.merlon.test", "in", true); ev.DNS.Code != "BADVERS" || ev.DNS.EDNSSize != 4096 {
		t.Errorf("%+v", ev.DNS)
	}
	exchange(t, "udp", server, new(dns.Msg).SetQuestion(`www\.good\.test.\000\\EVIL.test.`, dns.TypeTXT))
	ev := h.of(`www\.good\.test.\000\\evil.test`, "in", true)
	if len(ev.DNS.Answers) != 1 || ev.DNS.Answers[0].Data != "\x00\x1b[2Jx" || ev.DNS.Answers[0].Name != ev.DNS.Name {
		t.Errorf("%+v", ev.DNS)
	}
}

// TestTruncated: an answer that does not fit comes again over TCP, asked for by
// Go's resolver as any would.
func TestTruncated(t *testing.T) {
	h := start(t)
	serve(t, server, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
			m.Truncated = true
		} else if q.Question[0].Qtype == dns.TypeA {
			for i := range 100 {
				m.Answer = append(m.Answer, rr(fmt.Sprintf("big.merlon.test. 60 IN A 192.0.2.%d", i)))
			}
		}
		_ = w.WriteMsg(m)
	})
	pid := child(t, "lookup", server, "big.merlon.test")
	isA := func(ev *event.Event) bool { return ev.DNS.Type == "A" }
	over := func(transport string) func(*event.Event) bool {
		return func(ev *event.Event) bool { return ev.DNS.Transport == transport }
	}
	if ev := h.of("big.merlon.test", "in", true, isA, over("udp")); !ev.DNS.Truncated || len(ev.DNS.Answers) != 0 || ev.Thread.PID != uint32(pid) {
		t.Errorf("over UDP: %+v of %+v", ev.DNS, ev.Thread)
	}
	if ev := h.of("big.merlon.test", "out", false, isA, over("tcp")); ev.Thread.PID != uint32(pid) || ev.DNS.RemotePort != 53 {
		t.Errorf("query over TCP: %+v of %+v", ev.DNS, ev.Thread)
	}
	ev := h.of("big.merlon.test", "in", true, isA, over("tcp"))
	if d := ev.DNS; d.Truncated || d.Cut || d.Malformed != "" || len(d.Answers) != 64 || d.Answers[63].Data != "192.0.2.63" || ev.Thread.PID != uint32(pid) {
		t.Errorf("over TCP: %+v of %+v", d, ev.Thread)
	}
	// The accepted socket belongs to whoever bound the listener.
	for _, ev := range []*event.Event{h.of("big.merlon.test", "in", false, over("tcp")), h.of("big.merlon.test", "out", true, over("tcp"))} {
		if ev.Thread.PID == 0 || ev.Thread.PID == uint32(pid) || ev.DNS.LocalPort != 53 {
			t.Errorf("at the server: %+v of %+v", ev.DNS, ev.Thread)
		}
	}
}

// TestSegments sends queries over one connection in pieces: three in one
// segment, and one in three.
func TestSegments(t *testing.T) {
	h := start(t)
	serve(t, server, func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(new(dns.Msg).SetReply(q)) })
	var d net.Dialer
	d.SetMultipathTCP(false)
	c, err := d.DialContext(context.Background(), "tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.(*net.TCPConn).SetNoDelay(true); err != nil {
		t.Fatal(err)
	}
	apart := framed(query(t, "apart.merlon.test."))
	for _, b := range [][]byte{framed(query(t, "s1.merlon.test."), query(t, "s2.merlon.test."), query(t, "s3.merlon.test.")),
		apart[:1], apart[1:20], apart[20:]} {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond) // segments of their own; in one they'd pass, too
	}
	for _, name := range []string{"s1", "s2", "s3", "apart"} {
		for _, side := range []struct {
			direction string
			response  bool
		}{{"out", false}, {"in", false}, {"out", true}, {"in", true}} {
			if ev := h.of(name+".merlon.test", side.direction, side.response); ev.DNS.Malformed != "" || ev.DNS.Transport != "tcp" || ev.Thread.PID == 0 {
				t.Errorf("%+v of %+v", ev.DNS, ev.Thread)
			}
		}
	}
}

// TestIPv6 covers both address families of an IPv6 socket.
func TestIPv6(t *testing.T) {
	h := start(t)
	if c, err := net.ListenPacket("udp6", "[::1]:0"); err != nil {
		t.Skipf("no IPv6 here: %v", err)
	} else if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	serve(t, "[::1]:53", func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(new(dns.Msg).SetReply(q)) })
	for _, network := range []string{"udp", "tcp"} {
		name := network + "6.merlon.test"
		exchange(t, network, "[::1]:53", new(dns.Msg).SetQuestion(name+".", dns.TypeA))
		ev := h.of(name, "in", true)
		if d := ev.DNS; d.LocalAddr != "::1" || d.RemoteAddr != "::1" || d.RemotePort != 53 || d.Transport != network || ev.Thread.PID == 0 {
			t.Errorf("%+v of %+v", d, ev.Thread)
		}
	}
	// IPv4 packets of an IPv6 socket, which names its peer with each of them.
	c, err := net.ListenPacket("udp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.WriteTo(query(t, "mapped.merlon.test."), &net.UDPAddr{IP: net.IPv4(127, 77, 0, 9), Port: 53}); err != nil {
		t.Fatal(err)
	}
	if ev := h.of("mapped.merlon.test", "out", false); ev.DNS.RemoteAddr != "127.77.0.9" || ev.Thread.PID == 0 {
		t.Errorf("%+v of %+v", ev.DNS, ev.Thread)
	}
}

// TestFlavours: the ports tell multicast DNS and LLMNR; other ports are not looked at.
func TestFlavours(t *testing.T) {
	h := start(t)
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, port := range []int{52, 54, 5352, 5354, 5356, 853, 53, 5353, 5355} {
		name := fmt.Sprintf("p%d.merlon.test.", port)
		if _, err := c.WriteTo(query(t, name), &net.UDPAddr{IP: net.IPv4(127, 77, 0, 9), Port: port}); err != nil {
			t.Fatal(err)
		}
	}
	for port, flavour := range map[int]string{53: "dns", 5353: "mdns", 5355: "llmnr"} {
		if ev := h.of(fmt.Sprintf("p%d.merlon.test", port), "out", false); ev.DNS.Flavour != flavour {
			t.Errorf("port %d: %+v", port, ev.DNS)
		}
	}
	for _, name := range h.names() {
		if strings.HasPrefix(name, "p") && name != "p53.merlon.test" && name != "p5353.merlon.test" && name != "p5355.merlon.test" {
			t.Errorf("%s was seen", name)
		}
	}
}

// TestLong: of a message that is longer than a record the rest is missing, and
// said to be.
func TestLong(t *testing.T) {
	h := start(t)
	c, err := net.Dial("udp4", "127.77.0.9:53") // one segment over loopback
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m := new(dns.Msg).SetQuestion("long.merlon.test.", dns.TypeA)
	for range 1000 {
		m.Answer = append(m.Answer, rr("long.merlon.test. 1 IN A 192.0.2.1"))
	}
	m.Compress = true
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	if d := h.of("long.merlon.test", "out", false).DNS; !d.Cut || d.Malformed != "" || int(d.Size) != len(b) || len(d.Answers) != 64 {
		t.Errorf("%+v", d)
	}
}

// TestNeeds: nothing is attached when nobody asks, and attaching again doubles nothing.
func TestNeeds(t *testing.T) {
	h := start(t)
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func(name string) {
		if _, err := c.WriteTo(query(t, name+"."), &net.UDPAddr{IP: net.IPv4(127, 77, 0, 9), Port: 53}); err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.Background()
	for range 3 {
		if err := h.sensor.Attach(ctx, h.sensor.Info().Kinds); err != nil {
			t.Fatal(err)
		}
	}
	ask("once.merlon.test")
	if err := h.sensor.Attach(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if a := h.sensor.unit.Attached(); len(a) != 0 {
		t.Errorf("attached without a need: %v", a)
	}
	ask("unseen.merlon.test")
	if err := h.sensor.Attach(ctx, h.sensor.Info().Kinds); err != nil {
		t.Fatal(err)
	}
	ask("again.merlon.test")
	h.of("again.merlon.test", "out", false)
	seen := map[string]int{}
	for _, name := range h.names() {
		seen[name]++
	}
	if seen["once.merlon.test"] != 1 || seen["unseen.merlon.test"] != 0 || seen["again.merlon.test"] != 1 {
		t.Errorf("seen: %v", seen)
	}
}

// TestGetent asks with the C library's resolver, whose server need not answer.
func TestGetent(t *testing.T) {
	path, err := exec.LookPath("getent")
	if err != nil {
		t.Skip("no getent here")
	}
	h := start(t)
	cmd := exec.Command(path, "ahostsv4", "getent.merlon.test")
	cmd.Env = []string{"RES_OPTIONS=timeout:1 attempts:1"}
	_ = cmd.Run() // there is no such name
	ev := h.of("getent.merlon.test", "out", false)
	if th := ev.Thread; th.PID != uint32(cmd.Process.Pid) || th.Comm != "getent" || th.TID != th.PID || th.Start == 0 {
		t.Errorf("%+v, want process %d", th, cmd.Process.Pid)
	}
}
