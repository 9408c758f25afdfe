package dns

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/merlon/merlon/internal/kernel"
)

// packet is an Ethernet frame with that transport header behind an IP header.
func packet(version int, proto byte, sport, dport uint16, payload []byte) []byte {
	transport := make([]byte, 8)
	if proto == 6 {
		transport = make([]byte, 20)
		transport[12] = 5 << 4
	}
	binary.BigEndian.PutUint16(transport, sport)
	binary.BigEndian.PutUint16(transport[2:], dport)
	body := append(transport, payload...)
	frame := make([]byte, 14)
	if version == 4 {
		frame[12], frame[13] = 0x08, 0x00
		ip := make([]byte, 20)
		ip[0], ip[8], ip[9] = 0x45, 64, proto
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(body)))
		copy(ip[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
		return append(append(frame, ip...), body...)
	}
	frame[12], frame[13] = 0x86, 0xdd
	ip := make([]byte, 40)
	ip[0], ip[6], ip[7] = 0x60, proto, 64
	binary.BigEndian.PutUint16(ip[4:], uint16(len(body)))
	return append(append(frame, ip...), body...)
}

// BenchmarkProgram is what every packet of the host pays, by BPF_PROG_RUN: the
// first line is a packet of somebody else, the others are of DNS. The cost of
// the call itself is in all of them: compare with "none", a packet too short
// to look at.
func BenchmarkProgram(b *testing.B) {
	k := openKernel(b)
	spec, err := loadDns()
	if err != nil {
		b.Fatal(err)
	}
	u, err := k.Load(spec, kernel.LoadOptions{Name: "dns", Programs: programs()})
	if err != nil {
		b.Fatal(err)
	}
	defer u.Close()
	short := packet(4, 17, 1, 2, nil)[:14+20]
	for _, c := range []struct {
		name   string
		packet []byte
	}{
		{"none", short},
		{"tcp4", packet(4, 6, 443, 40000, make([]byte, 1000))},
		{"tcp6", packet(6, 6, 443, 40000, make([]byte, 1000))},
		{"udp4", packet(4, 17, 443, 40000, make([]byte, 1000))},
		{"dns-query", packet(4, 17, 40000, 53, make([]byte, 40))},
		{"dns-answer", packet(4, 17, 53, 40000, make([]byte, 400))},
	} {
		b.Run(c.name, func(b *testing.B) {
			var spent time.Duration
			n := 0
			for b.Loop() {
				const repeat = 2000
				ret, d, err := u.Program(dnsProgDnsIn).Benchmark(c.packet, repeat, nil)
				if err != nil {
					b.Fatal(err)
				}
				if ret != 1 {
					b.Fatalf("program returned %d", ret)
				}
				spent += d
				n++
			}
			b.ReportMetric(float64(spent.Nanoseconds())/float64(n), "ns/packet")
		})
	}
}
