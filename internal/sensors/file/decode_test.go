package file

import (
	"bytes"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
	"github.com/merlon/merlon/internal/record"
)

// raw lays out a fixed part and the text behind it as the kernel does.
func raw[T any](fixed *T, text ...string) []byte {
	b := bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(fixed)), int(unsafe.Sizeof(*fixed))))
	for _, t := range text {
		b = append(b, t...)
	}
	return b
}

func renameRecord() []byte {
	r := fileActRec{PathLen: 13, NewLen: 9, Ino: 7, Mode: unix.S_IFREG | 0o640, Nlink: 1}
	r.Hdr.Kind, r.Hdr.Time = uint16(fileEventKindKIND_FILE_RENAME), 99
	r.Actor.Pid, r.Actor.Start = 5, 6
	copy(r.Actor.Comm[:], []int8{'m', 'v'})
	copy(r.Fs[:], []int8{'e', 'x', 't', '4'})
	return raw(&r, "old/tmp/work/", "new/tmp/x", "")
}

func TestDecodeShort(t *testing.T) {
	d := NewDecoder()
	whole := renameRecord()
	for n := range whole {
		if err := d.Decode(whole[:n], new(event.Event)); err == nil {
			t.Fatalf("%d bytes of %d decoded", n, len(whole))
		}
	}
	var ev event.Event
	if err := d.Decode(whole, &ev); err != nil {
		t.Fatal(err)
	}
	if ev.File.Path != "/work/tmp/old" || ev.Thread.PID != 5 || ev.Thread.Comm != "mv" || ev.File.FS != "ext4" || ev.Boot != 99 {
		t.Errorf("%+v %+v", ev.File, ev.Thread)
	}
}

// TestStatusIsTheKernelSide checks that internal/record and bpf/lib/path.h
// number the states of a path alike.
func TestStatusIsTheKernelSide(t *testing.T) {
	for here, c := range map[record.Status]filePathStatus{
		record.PathOK: filePathStatusPATH_OK, record.PathOutside: filePathStatusPATH_OUTSIDE, record.PathDeep: filePathStatusPATH_DEEP,
	} {
		if uint32(here) != uint32(c) {
			t.Errorf("%v in Go, %v in C", here, c)
		}
	}
}

// FuzzDecode wants any bytes either decoded or refused.
func FuzzDecode(f *testing.F) {
	f.Add(renameRecord())
	m := fileMountRec{TargetLen: 4, SourceLen: 3, OptionsLen: 2}
	m.Hdr.Kind = uint16(fileEventKindKIND_MOUNT)
	f.Add(raw(&m, "mnt/", "dev", "rw"))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec := append(make([]byte, 0, len(b)+8), b...) // aligned, as a ring's records are
		var ev event.Event
		d := NewDecoder()
		if d.Decode(rec, &ev) != nil {
			return
		}
		if ev.Kind == "" || ev.File == nil && ev.Mount == nil {
			t.Errorf("decoded to nothing: %+v", ev)
		}
		if ev.File != nil && len(ev.File.Path) > len(b)+4 {
			t.Errorf("a path of %d bytes from a record of %d", len(ev.File.Path), len(b))
		}
	})
}

// noteBytes builds one notification as fanotify(7) lays it out.
func noteBytes(mask uint64, pid uint32, kind byte, handle string, name string) []byte {
	size := (fidHead + len(handle) + len(name) + 1 + 3) &^ 3
	b := make([]byte, noteHead+size)
	put32 := func(at int, v uint32) { *(*uint32)(unsafe.Pointer(&b[at])) = v }
	put32(0, uint32(len(b)))
	b[4] = unix.FANOTIFY_METADATA_VERSION
	*(*uint16)(unsafe.Pointer(&b[6])) = noteHead
	*(*uint64)(unsafe.Pointer(&b[8])) = mask
	put32(20, pid)
	b[noteHead] = kind
	*(*uint16)(unsafe.Pointer(&b[noteHead+2])) = uint16(size)
	put32(noteHead+4, 1)
	put32(noteHead+12, uint32(len(handle)))
	put32(noteHead+16, 1)
	copy(b[noteHead+fidHead:], handle)
	copy(b[noteHead+fidHead+len(handle):], name)
	return b
}

func TestNextNote(t *testing.T) {
	b := noteBytes(unix.FAN_CREATE, 42, unix.FAN_EVENT_INFO_TYPE_DFID_NAME, "handle!!", "na\x1bme")
	two := append(bytes.Clone(b), b...)
	n, rest, err := nextNote(two)
	if err != nil || len(rest) != len(b) {
		t.Fatalf("%v, %d bytes left", err, len(rest))
	}
	if n.pid != 42 || n.mask != unix.FAN_CREATE || string(n.name) != "na\x1bme" || string(n.dir.b) != "handle!!" || n.dir.fsid.Val[0] != 1 {
		t.Errorf("%+v", n)
	}
	for cut := 1; cut < len(b); cut++ {
		if _, _, err := nextNote(b[:cut]); err == nil {
			t.Errorf("%d bytes of %d taken", cut, len(b))
		}
	}
}

// FuzzNote wants any bytes either taken or refused, and always fewer left.
func FuzzNote(f *testing.F) {
	f.Add(noteBytes(unix.FAN_CREATE, 42, unix.FAN_EVENT_INFO_TYPE_DFID_NAME, "handle!!", "name"))
	f.Add(noteBytes(unix.FAN_RENAME, 1, unix.FAN_EVENT_INFO_TYPE_OLD_DFID_NAME, "h", ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		for rest := b; len(rest) > 0; {
			n, after, err := nextNote(rest)
			if err != nil {
				return
			}
			if len(after) >= len(rest) {
				t.Fatalf("%d bytes left of %d", len(after), len(rest))
			}
			if len(n.dir.key()) < 12 || len(n.name) > len(rest) {
				t.Fatalf("%+v", n)
			}
			rest = after
		}
	})
}

// FuzzMount wants any line of mountinfo taken or refused.
func FuzzMount(f *testing.F) {
	f.Add(`36 35 98:0 /mnt1 /mnt2\040x rw,noatime master:1 - ext3 /dev/root rw,errors=continue`)
	f.Add(`36 35 98:0 / / rw -`)
	f.Fuzz(func(t *testing.T, line string) {
		if m, ok := parseMount(line); ok && m.fs == "" {
			t.Errorf("%q: no type", line)
		}
	})
}

func TestParseMount(t *testing.T) {
	m, ok := parseMount(`36 35 98:1 /mnt1 /mnt2\040x rw,noatime master:1 - ext3 /dev/root rw,errors=continue`)
	want := mount{id: 36, dev: 98<<20 | 1, root: "/mnt1", target: "/mnt2 x", fs: "ext3", source: "/dev/root", options: "rw,errors=continue"}
	if !ok || m != want {
		t.Errorf("%+v %v, want %+v", m, ok, want)
	}
}

func BenchmarkDecode(b *testing.B) {
	d := NewDecoder()
	r := fileActRec{PathLen: 30, Ino: 7, Mode: unix.S_IFREG | 0o640, Nlink: 1}
	r.Hdr.Kind = uint16(fileEventKindKIND_FILE_CREATE)
	r.Hdr.Time = kernel.BootTime()
	copy(r.Actor.Comm[:], []int8{'m', 'v'})
	copy(r.Fs[:], []int8{'e', 'x', 't', '4'})
	rec := raw(&r, "file-12345/project/home/users/")
	rec = append(make([]byte, 0, len(rec)+8), rec...)
	b.ReportAllocs()
	for b.Loop() {
		var ev event.Event
		if err := d.Decode(rec, &ev); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTell measures the fanotify tier from notification to record.
func BenchmarkTell(b *testing.B) {
	t := newTeller(newResolver())
	n := note{mask: unix.FAN_CREATE, name: []byte("name"), dir: handle{b: []byte("handle!!")}}
	t.paths.dirs[n.dir.key()] = b.TempDir()
	kinds := map[event.Kind]bool{event.KindFileCreate: true}
	c := &collector{seen: map[event.Kind]bool{}, d: NewDecoder()}
	b.ReportAllocs()
	for b.Loop() {
		t.tell(&n, kinds, c, false)
	}
}
