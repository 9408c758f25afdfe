package network

import (
	"bytes"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
)

func raw[T any](r *T) []byte {
	return bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(r)), int(unsafe.Sizeof(*r))))
}

func closeRecord() []byte {
	var r networkNetEndRec
	r.Net.Hdr.Kind, r.Net.Hdr.Flags = uint16(networkEventKindKIND_NET_CLOSE), uint16(networkNetFlagNET_OUT)
	r.Net.Actor.Pid, r.Net.Actor.Comm[0] = 7, 'x'
	r.Net.Family, r.Net.Type, r.Net.Protocol = unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_TCP
	r.Net.Laddr, r.Net.Raddr = [16]byte{0x20, 1, 0xd, 0xb8, 15: 1}, [16]byte{0x20, 1, 0xd, 0xb8, 15: 2}
	r.Net.Lport, r.Net.Rport = 40000, 443
	return raw(&r)
}

func unixRecord(name string) []byte {
	var r networkUnixRec
	r.Hdr.Kind, r.Type, r.Len = uint16(networkEventKindKIND_UNIX_CONNECT), unix.SOCK_STREAM, uint16(len(name))
	copy(r.Path[:], name)
	return raw(&r)
}

func TestDecodeShort(t *testing.T) {
	for _, whole := range [][]byte{closeRecord(), unixRecord("/run/docker.sock")} {
		d := NewDecoder()
		var ev event.Event
		if err := d.Decode(whole, &ev); err != nil {
			t.Fatal(err)
		}
		for n := range whole {
			if err := d.Decode(whole[:n], &ev); err == nil {
				t.Fatalf("%d bytes of %d decoded", n, len(whole))
			}
		}
		whole[8] = 99
		if err := d.Decode(whole, &ev); err == nil {
			t.Error("a record of unknown kind decoded")
		}
	}
}

func TestDecodeUnixNames(t *testing.T) {
	for in, want := range map[string]event.Text{
		"/a": "/a", "/a\x00": "/a", "/a\x00b": "/a", "\x00a\x00b": "@a\x00b", "\x00": "@", "": "",
	} {
		var ev event.Event
		if err := NewDecoder().Decode(unixRecord(in), &ev); err != nil || ev.Net.Path != want {
			t.Errorf("%q: %q, want %q (%v)", in, ev.Net.Path, want, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(closeRecord())
	f.Add(unixRecord("\x00abstract"))
	for k := firstKind; k <= lastKind; k++ {
		b := make([]byte, 256)
		b[8] = byte(k)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, rec []byte) {
		d := NewDecoder()
		var ev event.Event
		for range 2 {
			ev.Reset()
			if err := d.Decode(rec, &ev); err == nil && (ev.Kind == "" || ev.Net == nil) {
				t.Fatal("decoded into nothing")
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	rec := closeRecord()
	d := NewDecoder()
	var ev event.Event
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Decode(rec, &ev); err != nil {
			b.Fatal(err)
		}
	}
}
