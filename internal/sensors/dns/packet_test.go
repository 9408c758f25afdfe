package dns

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/merlon/merlon/internal/kernel"
	"github.com/merlon/merlon/internal/record"
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

// with returns a copy of an IP packet behind its Ethernet header with more put
// in at a place, and bytes changed.
func with(frame []byte, at int, more []byte, change map[int]byte) []byte {
	b := append(bytes.Clone(frame[:at]), more...)
	b = append(b, frame[at:]...)
	for i, c := range change {
		b[i] = c
	}
	return b
}

// TestPackets runs the program over packets as the network could send them.
func TestPackets(t *testing.T) {
	k := openKernel(t)
	for _, old := range []string{"5.10.", "6.1.", "6.12."} {
		if strings.HasPrefix(k.Environment().Release, old) {
			t.Skip("BPF_PROG_RUN of this kernel does not set data and data_end for cgroup programs; the other tests send real packets")
		}
	}
	spec, err := loadDns()
	if err != nil {
		t.Fatal(err)
	}
	u, err := k.Load(spec, kernel.LoadOptions{Name: "dns", Programs: programs()})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	rd, err := ringbuf.NewReader(k.Map("events_bulk"))
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	const ip = 14
	data := []byte("twelve bytes")
	udp4, udp6, tcp4 := packet(4, 17, 40000, 53, data), packet(6, 17, 53, 40000, data), packet(4, 6, 40000, 5355, data)
	long := bytes.Repeat([]byte("x"), 2000)
	for _, c := range []struct {
		what   string
		packet []byte
		want   string // payload; "" for no record
	}{
		{"UDP over IPv4", udp4, string(data)},
		{"UDP over IPv6", udp6, string(data)},
		{"TCP over IPv4", tcp4, string(data)},
		{"TCP over IPv6", packet(6, 6, 40000, 53, data), string(data)},
		{"TCP options", with(tcp4, ip+40, make([]byte, 12), map[int]byte{ip + 32: 8 << 4}), string(data)},
		{"IPv4 options", with(udp4, ip+20, make([]byte, 8), map[int]byte{ip: 0x47}), string(data)},
		{"IPv6 routing header", with(udp6, ip+40, []byte{17, 0, 4, 0, 0, 0, 0, 0}, map[int]byte{ip + 6: 43}), string(data)},
		{"two IPv6 extensions", with(udp6, ip+40, []byte{60, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0}, map[int]byte{ip + 6: 0}), string(data)},
		{"2000 bytes", packet(4, 17, 53, 1, long), string(long)},
		{"one byte", packet(4, 17, 53, 1, data[:1]), "t"},
		{"128 bytes", packet(4, 17, 53, 1, long[:128]), string(long[:128])},
		{"129 bytes", packet(4, 17, 53, 1, long[:129]), string(long[:129])},
		{"1233 bytes", packet(4, 17, 53, 1, long[:1233]), string(long[:1233])},
		{"no payload", packet(4, 17, 53, 1, nil), ""},
		{"an acknowledgement", packet(4, 6, 53, 1, nil), ""},
		{"another port", packet(4, 17, 5354, 1, data), ""},
		{"another protocol", packet(4, 132, 53, 1, data), ""},
		{"ICMPv6", packet(6, 58, 53, 53, data), ""},
		{"extensions without end", with(udp6, ip+40, make([]byte, 64), map[int]byte{ip + 6: 0}), ""},
		{"TCP header behind the end", with(tcp4, ip+40, nil, map[int]byte{ip + 32: 15 << 4}), ""},
		{"IPv4 header behind the end", with(udp4, ip+20, nil, map[int]byte{ip: 0x4f}), ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			if ret, _, err := u.Program(dnsProgDnsIn).Test(c.packet); err != nil || ret != 1 {
				t.Fatalf("program returned %d, %v", ret, err)
			}
			rd.SetDeadline(time.Now().Add(-time.Second))
			rec, err := rd.Read()
			if errors.Is(err, os.ErrDeadlineExceeded) {
				if c.want != "" {
					t.Error("no record")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			r, rest, err := record.View[dnsDnsRec](rec.RawSample)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(rest[:r.Copied]); got != c.want || int(r.Len) != len(c.want) {
				t.Errorf("%d bytes %.30q of %d, want %d bytes %.30q", len(got), got, r.Len, len(c.want), c.want)
			}
		})
	}
}
