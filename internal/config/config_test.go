package config

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDefaultsAreValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestTagsAreComplete(t *testing.T) {
	Default().walk(func(f field, _ int) {
		if f.name == "" || f.doc == "" {
			t.Errorf("%s: key or doc tag missing", f.path)
		}
		lo, hi, ok := strings.Cut(f.tag.Get("range"), " ")
		if ok && parseAs(f.value, lo) >= parseAs(f.value, hi) {
			t.Errorf("%s: range %q %q can't be right", f.path, lo, hi)
		}
	})
}

func TestPrintDecodesToTheSame(t *testing.T) {
	c := Default()
	c.SocketGroup = "123"
	c.Metrics.Listen = "[::1]:9464"
	c.API.ReadUIDs = []uint32{0, 1000}
	c.Kernel.BTF = "/a \"b\"\\\x01#:é"
	for _, want := range []*Config{Default(), c} {
		var b bytes.Buffer
		if err := want.Print(&b); err != nil {
			t.Fatal(err)
		}
		got, err := Decode("printed", b.Bytes())
		if err != nil {
			t.Fatalf("%v\n%s", err, b.String())
		}
		if d := cmp.Diff(want, got, cmp.Comparer(slices.Equal[[]uint32])); d != "" {
			t.Errorf("printed and decoded differ:\n%s", d)
		}
	}
}

func TestDecode(t *testing.T) {
	c, err := Decode("f", []byte("# nothing but comments\n"))
	if err != nil || !reflect.DeepEqual(c, Default()) {
		t.Fatalf("a file of comments must give the defaults: %v", err)
	}
	c, err = Decode("f", []byte("log:\nrings:\n  critical: 1MiB\nalerts: {window: 90s}\napi:\n  read_uids: [1000, 1001]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Rings.Critical != 1<<20 || c.Alerts.Window != Duration(90*time.Second) || len(c.API.ReadUIDs) != 2 || c.Log.Level != "info" {
		t.Errorf("decoded %+v", c)
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		name, yaml string
		want       []string
	}{
		{"unknown key", "soket: /a\n", []string{"f.yaml:1:1: soket: unknown key; did you mean socket?"}},
		{"unknown key in a section", "log:\n  levle: info\n", []string{"f.yaml:2:3: log.levle: unknown key; did you mean log.level?"}},
		{"key of another section", "read_uids: [1]\n", []string{"f.yaml:1:1: read_uids: unknown key; did you mean api.read_uids?"}},
		{"nothing near", "zzzzzzzzzz: 1\n", []string{"f.yaml:1:1: zzzzzzzzzz: unknown key; `merlon config print` lists all"}},
		{"number for string", "socket_group: 5\n", []string{"f.yaml:1:15: socket_group: wants a string, found the int 5; put it in quotes"}},
		{"string for number", "process:\n  max_tracked: many\n", []string{"f.yaml:2:16: process.max_tracked: wants a whole number, found the string many"}},
		{"section for scalar", "state_dir:\n  a: 1\n", []string{"state_dir: wants a string, found a section"}},
		{"scalar for section", "log: info\n", []string{"f.yaml:1:6: log: wants a section of keys, found string"}},
		{"bad size", "rings:\n  bulk: 4MB\n", []string{`f.yaml:2:9: rings.bulk: "4MB" is not a size`}},
		{"bad duration", "alerts:\n  window: 3\n", []string{`f.yaml:2:11: alerts.window: "3" is not a duration`}},
		{"bad list", "api:\n  read_uids: 5\n", []string{"api.read_uids: wants a list of numbers like [0, 1000], found the int 5"}},
		{"bad list entry", "api:\n  read_uids: [1, root, -4]\n", []string{"api.read_uids: entry 2: wants", "api.read_uids: entry 3: wants"}},
		{"no value", "socket:\n", []string{"f.yaml:1:1: socket: has no value; it wants a string"}},
		{"two at once", "soket: 1\nlog:\n  level: 3\n", []string{"f.yaml:1:1: soket", "f.yaml:3:10: log.level: wants a string"}},
		{"out of range", "rings:\n  critical: 16MiB\n", []string{"f.yaml:2:3: rings.critical: 16MiB is out of range: 64KiB to 8MiB"}},
		{"not a power of two", "rings:\n  critical: 3MiB\n", []string{"f.yaml:2:3: rings.critical: 3MiB is not a power of two"}},
		{"one of", "log:\n  format: xml\n", []string{`f.yaml:2:3: log.format: "xml" is not one of text, json`}},
		{"reachable metrics", "metrics:\n  listen: 0.0.0.0:9464\n", []string{"f.yaml:2:3: metrics.listen: 0.0.0.0 can be reached from other hosts"}},
		{"not an address", "metrics:\n  listen: there\n", []string{`metrics.listen: "there" is not an address and port`}},
		{"relative path", "socket: run/merlon.sock\n", []string{"f.yaml:1:1: socket: wants an absolute path"}},
		{"long socket", "socket: /" + strings.Repeat("a", 110) + "\n", []string{"holds at most 107"}},
		{"not YAML", "log: [\n", []string{"f.yaml:1:", "not valid YAML"}},
		{"twice", "socket: /a\nsocket: /b\n", []string{"f.yaml:2:1: "}},
		{"two documents", "socket: /a\n---\nsocket: /b\n", []string{"f.yaml:3:", "more than one document"}},
		{"anchors", "socket: &a /a\nstate_dir: *a\n", []string{"socket: wants a string, found an anchor or alias, which are not supported"}},
		{"not UTF-8", "log:\n  level: \xff\n", []string{"f.yaml:2:10: not valid YAML: the file is not UTF-8"}},
		{"control characters", "\"a\\e[31m\": 1\n", []string{`f.yaml:1:1: a\x1b[31m: unknown key`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Decode("f.yaml", []byte(c.yaml))
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error\n%v\ndoes not contain\n%s", err, want)
				}
			}
		})
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "none.yaml")); err == nil || !strings.Contains(err.Error(), "defaults are used") {
		t.Errorf("missing file: %v", err)
	}
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, bytes.Repeat([]byte("#\n"), maxFile), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(big); err == nil || !strings.Contains(err.Error(), "the limit is") {
		t.Errorf("large file: %v", err)
	}
}

func TestUnits(t *testing.T) {
	for s, want := range map[Size]string{0: "0", 512: "512", 1024: "1KiB", 1536: "1536", 4 << 20: "4MiB", 3 << 30: "3GiB"} {
		if s.String() != want {
			t.Errorf("Size(%d) = %s, want %s", uint64(s), s, want)
		}
		var back Size
		if err := back.UnmarshalText([]byte(want)); err != nil || back != s {
			t.Errorf("%s reads as %d: %v", want, back, err)
		}
	}
	for d, want := range map[Duration]string{Duration(time.Hour): "1h", Duration(90 * time.Second): "1m30s", Duration(time.Minute): "1m", 0: "0s", Duration(10 * time.Second): "10s"} {
		if d.String() != want {
			t.Errorf("Duration %v = %s, want %s", time.Duration(d), d, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	var b bytes.Buffer
	if err := Default().Print(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("log: {level: info}\nrings:\n  bulk: 4MiB\napi: {read_uids: [1]}"))
	f.Add([]byte("a: &a [*a]\n<<: *a\n? x\n: y\n--- !!str |\n x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Decode("f", data)
		if (c == nil) == (err == nil) {
			t.Fatalf("config %v with error %v", c, err)
		}
		if err != nil {
			for _, e := range err.(Errors) {
				if strings.ContainsAny(e.Key+e.Msg, "\x1b\x00\n") {
					t.Fatalf("raw control characters in %q", e.Error())
				}
			}
			return
		}
		var out bytes.Buffer
		if err := c.Print(&out); err != nil {
			t.Fatal(err)
		}
		if _, err := Decode("again", out.Bytes()); err != nil {
			t.Fatalf("what Print wrote does not decode: %v\n%s", err, out.String())
		}
	})
}
