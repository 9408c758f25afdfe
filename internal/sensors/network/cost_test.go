package network

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

// TestProbe checks what the features promise, what the verifier walked, and
// that nothing sits on system calls; it prints them for the page of kernels.
func TestProbe(t *testing.T) {
	h := start(t)
	for _, f := range probed.features {
		fmt.Printf("MERLON-FACT {\"type\":\"feature\",\"group\":%q,\"name\":%q,\"tier\":%q,\"guarantee\":%q,\"why\":%q}\n",
			f.Group, f.Name, f.Tier, f.Guarantee, f.Why)
		if f.Guarantee != event.Observe {
			t.Errorf("%s: %s: %s %+v", f.Name, f.Guarantee, f.Why, f.Tried)
		}
	}
	for _, p := range h.k.Programs() {
		if p.VerifiedInsns > 0 { // told since Linux 5.16
			fmt.Printf("MERLON-FACT {\"type\":\"insns\",\"program\":%q,\"count\":%d}\n", p.Name, p.VerifiedInsns)
		}
		if p.VerifiedInsns > 200_000 {
			t.Errorf("%s: %d instructions verified", p.Name, p.VerifiedInsns)
		}
	}
	for _, l := range h.k.Links() {
		if strings.Contains(l.Attach, "sys_enter") || strings.Contains(l.Attach, "sys_exit") || strings.Contains(l.Attach, "syscalls") {
			t.Errorf("%+v sits on every system call", l)
		}
	}
}

// works are what the benchmarks time, once without and once with the sensor.
type works struct {
	l      int
	at     netip.AddrPort
	pair   [2]int // a TCP connection
	udp    int
	udpTo  unix.Sockaddr
	buffer [64]byte
}

func newWorks(b *testing.B) *works {
	w := new(works)
	w.l, w.at = listener(b, unix.AF_INET, netip.MustParseAddr("127.0.0.1"), 0)
	w.pair[0] = socket(b, unix.AF_INET, unix.SOCK_STREAM, 0)
	if err := unix.Connect(w.pair[0], sockaddr(w.at, false)); err != nil {
		b.Fatal(err)
	}
	w.pair[1], _ = accept(b, w.l)
	for _, fd := range w.pair {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			b.Fatal(err)
		}
	}
	w.udp = socket(b, unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err := unix.Bind(w.udp, onLoopback(0)); err != nil {
		b.Fatal(err)
	}
	w.udpTo = onLoopback(int(portOf(b, w.udp)))
	return w
}

func (w *works) connect(b *testing.B) {
	fd := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(b)
	if err := unix.Connect(fd, sockaddr(w.at, false)); err != nil {
		b.Fatal(err)
	}
	server, _, err := unix.Accept4(w.l, unix.SOCK_CLOEXEC)
	if err != nil {
		b.Fatal(err)
	}
	_, _ = unix.Close(fd), unix.Close(server)
}

func (w *works) ping(b *testing.B) {
	transfer(b, w.pair[0], w.pair[1], 32)
	transfer(b, w.pair[1], w.pair[0], 32)
}

func (w *works) datagram(b *testing.B) {
	if err := unix.Sendto(w.udp, w.buffer[:], 0, w.udpTo); err != nil {
		b.Fatal(err)
	}
	if _, _, err := unix.Recvfrom(w.udp, w.buffer[:], 0); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkWork times a connect/accept/close, a request and its answer over
// TCP, and a datagram, without and with every kind attached, and once more
// with the kernel's clock on every program.
func BenchmarkWork(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs CAP_BPF and CAP_SYS_ADMIN: run as root")
	}
	for _, c := range []struct {
		name string
		work func(*works, *testing.B)
	}{{"connect", (*works).connect}, {"ping", (*works).ping}, {"datagram", (*works).datagram}} {
		for _, on := range []string{"off", "control", "on", "measured"} {
			b.Run(c.name+"/"+on, func(b *testing.B) {
				var k *kernel.Kernel
				if on == "on" || on == "measured" {
					var s *Sensor
					k, s = benchSensor(b)
					defer k.Close()
					defer s.Close()
				}
				if on == "measured" {
					defer must(k.EnableStats())(b).Close()
				}
				isolate(b)
				w := newWorks(b)
				b.ResetTimer()
				for range b.N {
					c.work(w, b)
				}
				b.StopTimer()
				if on == "measured" {
					report(b, k)
				}
			})
		}
	}
}

// benchSensor attaches every kind; nobody reads the rings, so that what is
// timed is the kernel's part: they are full soon, and the last step fails.
func benchSensor(b *testing.B) (*kernel.Kernel, *Sensor) {
	log := slog.New(slog.DiscardHandler)
	k := must(kernel.Open(context.Background(), kernel.Options{CriticalBytes: 1 << 20, BulkBytes: 256 << 20, Log: log,
		Canary: []string{"/proc/self/exe", "-test.run=^$"}}))(b)
	s := New(k, Options{Log: log})
	s.hooks = benchHooks(b, s)
	if err := s.Attach(context.Background(), s.Info().Kinds); err != nil {
		b.Fatal(err)
	}
	return k, s
}

func benchHooks(b *testing.B, s *Sensor) *hooks {
	b.Helper()
	probed.once.Do(func() {
		s.Probe(context.Background())
		probed.hooks = s.hooks
	})
	return probed.hooks
}

// report prints what each program took.
func report(b *testing.B, k *kernel.Kernel) {
	for _, p := range k.Programs() {
		if p.RunCount > 100 {
			b.ReportMetric(float64(p.RunTime.Nanoseconds())/float64(p.RunCount), p.Name+"-ns/run")
		}
	}
}
