package process

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/record"
)

// record lays out a fixed part and the text behind it as the kernel does.
func rawRecord[T any](fixed *T, text ...string) []byte {
	b := bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(fixed)), int(unsafe.Sizeof(*fixed))))
	for _, t := range text {
		b = append(b, t...)
	}
	return b
}

func execRecord() []byte {
	r := processExecRec{FilenameLen: 5, EnvLen: 14, ArgsLen: 6, ArgsBytes: 6, CwdLen: 4}
	r.Hdr.Kind = uint16(processEventKindKIND_EXEC)
	r.Task.Pid, r.Task.Start = 7, 99
	r.Exe.PathLen, r.Exe.Ino = 8, 3
	return rawRecord(&r, "ls/nib/u", "tmp/", "/usr\x00", "LD_PRELOAD=/x\x00", "ls\x00-l\x00")
}

// TestStatusIsTheKernelSide checks that internal/record and bpf/lib/path.h
// number the states of a path alike.
func TestStatusIsTheKernelSide(t *testing.T) {
	for here, c := range map[record.Status]processPathStatus{
		record.PathOK: processPathStatusPATH_OK, record.PathOutside: processPathStatusPATH_OUTSIDE,
		record.PathDeep: processPathStatusPATH_DEEP,
	} {
		if uint32(here) != uint32(c) {
			t.Errorf("%v in Go, %v in C", here, c)
		}
	}
}

func TestDecodeShort(t *testing.T) {
	d := NewDecoder()
	whole := execRecord()
	var ev event.Event
	if err := d.Decode(whole, &ev); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]event.Text{"ls", "-l"}, ev.Exec.Args); d != "" {
		t.Error(d)
	}
	for n := range whole {
		if err := d.Decode(whole[:n], &ev); err == nil {
			t.Fatalf("%d bytes of %d decoded", n, len(whole))
		}
	}
	binary.LittleEndian.PutUint16(whole[8:], 63)
	if err := d.Decode(whole, &ev); err == nil {
		t.Error("a record of unknown kind decoded")
	}
}

func argsRecord(key event.Key, part uint32, text string) []byte {
	r := processArgsRec{Pid: key.PID, Start: key.Start, Part: part, Len: uint32(len(text))}
	r.Hdr.Kind = uint16(processEventKindKIND_ARGS)
	return rawRecord(&r, text)
}

func TestParts(t *testing.T) {
	key := event.Key{PID: 7, Start: 99}
	for name, c := range map[string]struct {
		parts []uint32
		n     uint32
		want  string
		whole bool
	}{
		"none":    {nil, 0, "", true},
		"both":    {[]uint32{1, 2}, 2, "12", true},
		"lost":    {nil, 2, "", false},
		"gap":     {[]uint32{1, 3}, 3, "1", false},
		"no head": {[]uint32{2}, 2, "", false},
		"again":   {[]uint32{1, 2, 1}, 1, "1", true},
	} {
		t.Run(name, func(t *testing.T) {
			p := parts{byKey: make(map[event.Key]*argParts)}
			for _, n := range c.parts {
				if err := p.add(argsRecord(key, n, string(rune('0'+n)))); !errors.Is(err, contract.ErrPartial) {
					t.Fatal(err)
				}
			}
			got, whole := p.take(key, c.n)
			if string(got) != c.want || whole != c.whole {
				t.Errorf("%q whole %v, want %q %v", got, whole, c.want, c.whole)
			}
		})
	}
	p := parts{byKey: make(map[event.Key]*argParts)}
	for i := range uint32(10 * maxPending) {
		_ = p.add(argsRecord(event.Key{PID: i, Start: 1}, 1, "x"))
		if len(p.byKey) > maxPending {
			t.Fatalf("%d vectors pending", len(p.byKey))
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(execRecord())
	f.Add(argsRecord(event.Key{PID: 7, Start: 99}, 1, "abc"))
	for _, k := range []processEventKind{processEventKindKIND_FORK, processEventKindKIND_EXIT, processEventKindKIND_CGROUP} {
		b := make([]byte, 1200)
		binary.LittleEndian.PutUint16(b[8:], uint16(k))
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, rec []byte) {
		d := NewDecoder()
		var ev event.Event
		for range 2 {
			ev.Reset()
			if err := d.Decode(rec, &ev); err == nil && ev.Kind == "" {
				t.Fatal("decoded into no kind")
			}
		}
	})
}

func FuzzProc(f *testing.F) {
	f.Add([]byte("1 (a) b) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 42 0 0"), []byte("Uid:\t1\t2\t3\t4\nCapEff:\t000001ffffffffff\nNSpid:\t1\t2\n"))
	f.Fuzz(func(_ *testing.T, stat, status []byte) {
		var p event.Process
		parseStat(stat, &p)
		parseStatus(status, &p)
	})
}

func BenchmarkDecodeExec(b *testing.B) {
	rec := execRecord()
	d := NewDecoder()
	var ev event.Event
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Decode(rec, &ev); err != nil {
			b.Fatal(err)
		}
	}
}
