package user

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
)

var _ contract.Enricher = (*Enricher)(nil)

func TestParse(t *testing.T) {
	in := `root:x:0:0:root:/root:/bin/bash
toor:x:0:0:second name:/root:/bin/bash
# comment:x:5:5:
+nis:x:6:6::
-bad:x:7:7::
+
daemon:x:1:1
short:x:2
:x:3:3:no name::
minus:x:-1:1::
none:x:4294967295:1::
big:x:99999999999:1::
evil` + "\x1b[31m" + `:x:8:8::
` + strings.Repeat("n", 200) + `:x:9:9::
last:x:10:10::`
	got, err := parse(strings.NewReader(in))
	want := map[uint32]string{0: "root", 1: "daemon", 8: `evil\x1b[31m`, 9: strings.Repeat("n", 64), 10: "last"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("(-want +got) err %v\n%s", err, diff)
	}
	if got, err := parse(strings.NewReader("a:x:1:\n" + strings.Repeat("x", 2*maxLine))); err == nil || got[1] != "a" {
		t.Errorf("an endless line: %v, %v", got, err)
	}
	var many bytes.Buffer
	for i := range 2 * maxEntries {
		fmt.Fprintf(&many, "u%d:x:%d:\n", i, i)
	}
	if got, _ := parse(&many); len(got) != maxEntries {
		t.Errorf("%d names are held, want %d", len(got), maxEntries)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("root:x:0:0:root:/root:/bin/bash\n"))
	f.Add([]byte("a:b:c\n::::\n#\n\x00:\xff:1:\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		names, _ := parse(bytes.NewReader(in))
		for id, name := range names {
			if name == "" || name != event.Safe(name) || id == ^uint32(0) {
				t.Errorf("%d is %q", id, name)
			}
		}
	})
}

func TestEnrich(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("passwd", "root:x:0:0::\nann:x:1000:1000::\n")
	write("group", "root:x:0:\nstaff:x:50:ann\n")
	var log bytes.Buffer
	e := New(Options{Etc: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
	who := func(boot uint64) string {
		p := &event.Process{Creds: event.Creds{UID: 7, EUID: 1000, EGID: 50}, LoginUID: ^uint32(0)}
		e.Enrich(&event.Event{Kind: event.KindExec, Boot: boot, Process: p})
		return p.User + "/" + p.Group + "/" + p.LoginUser
	}
	if got := who(2e9); got != "ann/staff/" {
		t.Errorf("got %s", got)
	}
	p := &event.Process{LoginUID: 1000}
	e.Enrich(&event.Event{Kind: event.KindExec, Process: p})
	if p.User != "root" || p.LoginUser != "ann" {
		t.Errorf("root for ann: %+v", p)
	}
	write("passwd", "root:x:0:0::\nannabel:x:1000:1000::\n")
	if got := who(2e9 + 5); got != "ann/staff/" {
		t.Errorf("looked at twice in a second: %s", got)
	}
	if got := who(4e9); got != "annabel/staff/" {
		t.Errorf("the change is not seen: %s", got)
	}
	if err := os.Remove(filepath.Join(dir, "passwd")); err != nil {
		t.Fatal(err)
	}
	for boot := uint64(6e9); boot < 20e9; boot += 2e9 {
		if got := who(boot); got != "annabel/staff/" {
			t.Errorf("without the file: %s", got)
		}
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 1 {
		t.Errorf("told %d times of one missing file:\n%s", n, log.String())
	}
	if n, limit := e.Size(); n != 4 || n > limit {
		t.Errorf("size %d of %d", n, limit)
	}
	exit := &event.Process{}
	e.Enrich(&event.Event{Kind: event.KindExit, Process: exit})
	if exit.User != "" {
		t.Error("an exit record, which carries no credentials, is named root")
	}
}

func BenchmarkEnrich(b *testing.B) {
	e := New(Options{})
	p := event.Process{LoginUID: ^uint32(0)}
	ev := event.Event{Kind: event.KindExec, Process: &p}
	b.ReportAllocs()
	for b.Loop() {
		e.Enrich(&ev)
	}
}
