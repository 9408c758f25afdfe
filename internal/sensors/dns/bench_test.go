package dns

import (
	"testing"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/merlon/merlon/internal/kernel"
)

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
	rd, err := ringbuf.NewReader(k.Map("events_bulk"))
	if err != nil {
		b.Fatal(err)
	}
	defer rd.Close()
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
			var rec ringbuf.Record
			n := 0
			for b.Loop() {
				const repeat = 1000 // records of which fit into the ring
				ret, d, err := u.Program(dnsProgDnsIn).Benchmark(c.packet, repeat, nil)
				if err != nil {
					b.Fatal(err)
				}
				if ret != 1 {
					b.Fatalf("program returned %d", ret)
				}
				spent += d
				n++
				for err == nil { // make room
					rd.SetDeadline(time.Now().Add(-time.Second))
					err = rd.ReadInto(&rec)
				}
			}
			b.ReportMetric(float64(spent.Nanoseconds())/float64(n), "ns/packet")
		})
	}
}
