package privilege

import (
	"bytes"
	"encoding/binary"
	"testing"
	"unsafe"

	"github.com/merlon/merlon/internal/event"
)

// rawRecord lays out a record as the kernel does.
func rawRecord[T any](kind privilegeEventKind, r *T) []byte {
	b := bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(r)), int(unsafe.Sizeof(*r))))
	binary.NativeEndian.PutUint16(b[8:], uint16(kind))
	return b
}

// samples has one record of each layout.
func samples() [][]byte {
	var cred privilegePrivCredRec
	cred.P.Actor.Pid, cred.P.Actor.Start, cred.P.Call = 7, 99, uint8(privilegePrivCallCALL_SETUID)
	cred.After.Uid = 5
	var task privilegePrivTaskRec
	task.Target.Pid, task.P.Num = 8, 16
	var name privilegePrivNameRec
	copy(name.Name[:], []int8{'m', 'e', 'm', 'f', 'd', ':', 'x'})
	var path privilegePrivPathRec
	path.Len = 4
	copy(path.Path[:], "usr/")
	return [][]byte{
		rawRecord(privilegeEventKindKIND_SETUID, &cred), rawRecord(privilegeEventKindKIND_PTRACE, &task),
		rawRecord(privilegeEventKindKIND_MEMFD_CREATE, &name), rawRecord(privilegeEventKindKIND_CHROOT, &path),
		rawRecord(privilegeEventKindKIND_BPF_LOAD, &privilegePrivBpfRec{Helpers: [4]uint64{1 << 36}}),
		rawRecord(privilegeEventKindKIND_UNSHARE, &privilegePrivRec{Types: 0x04020000}),
	}
}

func TestDecodeShort(t *testing.T) {
	d := NewDecoder()
	for _, whole := range samples() {
		var ev event.Event
		if err := d.Decode(whole, &ev); err != nil {
			t.Fatal(err)
		}
		for n := range whole {
			if n == int(unsafe.Sizeof(privilegePrivRec{})) && ev.Kind == event.KindChroot {
				continue // one whose path is not known any more
			}
			var short event.Event
			if err := d.Decode(whole[:n], &short); err == nil {
				t.Fatalf("%s: %d bytes of %d decoded", ev.Kind, n, len(whole))
			}
		}
	}
	unknown := samples()[0]
	binary.NativeEndian.PutUint16(unknown[8:], 63)
	var ev event.Event
	if err := d.Decode(unknown, &ev); err == nil {
		t.Error("a record of unknown kind decoded")
	}
}

func TestDecodeNames(t *testing.T) {
	d := NewDecoder()
	var evs []event.Event
	for _, rec := range samples() {
		var ev event.Event
		if err := d.Decode(rec, &ev); err != nil {
			t.Fatal(err)
		}
		evs = append(evs, ev)
	}
	if p := evs[0].Privilege; evs[0].Thread.PID != 7 || evs[0].Thread.Start != 99 || p.Call != "setuid" || p.After.UID != 5 {
		t.Errorf("setuid: %+v %+v", evs[0].Thread, p)
	}
	if p := evs[1].Privilege; p.Target.PID != 8 || p.Call != "PTRACE_ATTACH" {
		t.Errorf("ptrace: %+v", p)
	}
	if p := evs[2].Privilege; p.Name != "x" {
		t.Errorf("memfd: %+v", p)
	}
	if p := evs[3].Privilege; p.Path != "/usr" {
		t.Errorf("chroot: %+v", p)
	}
	if p := evs[4].Privilege; len(p.Helpers) != 1 || p.Helpers[0] != "probe_write_user" {
		t.Errorf("bpf: %+v", p)
	}
	if p := evs[5].Privilege; p.NSTypes != "mnt,uts" {
		t.Errorf("unshare: %+v", p)
	}
}

func FuzzDecode(f *testing.F) {
	for _, rec := range samples() {
		f.Add(rec)
	}
	f.Fuzz(func(t *testing.T, rec []byte) {
		d := NewDecoder()
		var ev event.Event
		for range 2 {
			ev.Reset()
			if err := d.Decode(rec, &ev); err == nil && (ev.Kind == "" || ev.Privilege == nil || ev.Privilege.Cause == "") {
				t.Fatalf("decoded into %q, %+v", ev.Kind, ev.Privilege)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, rec := range samples() {
		var ev event.Event
		d := NewDecoder()
		if err := d.Decode(rec, &ev); err != nil {
			b.Fatal(err)
		}
		b.Run(string(ev.Kind), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := d.Decode(rec, &ev); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
