package kernel

import (
	"os"
	"path/filepath"
	"testing"
)

func TestParseMountinfo(t *testing.T) {
	const info = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw
31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
32 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
33 22 0:29 /a\040b /mnt/with\040space rw - bpf merlon rw
broken line
`
	mounts := parseMountinfo(info)
	if len(mounts) != 5 {
		t.Fatalf("%d mounts: %+v", len(mounts), mounts)
	}
	if m := mounts[4]; m.path != "/mnt/with space" || m.root != "/a b" || m.source != mountSource || m.fstype != "bpf" {
		t.Errorf("%+v", m)
	}
	if p := mountOf(mounts, "cgroup2"); p != "/sys/fs/cgroup/unified" {
		t.Errorf("cgroup2 at %q", p)
	}
	if p := mountOf(mounts, "bpf"); p != "" {
		t.Errorf("bpffs at %q: only its usual place counts", p)
	}
	for want, drop := range map[string]string{"hybrid": "", "v2": "cgroup", "v1": "cgroup2"} {
		var some []mountPoint
		for _, m := range mounts {
			if m.fstype != drop {
				some = append(some, m)
			}
		}
		if got := cgroupMode(some); got != want {
			t.Errorf("mode %s, want %s", got, want)
		}
	}
	if got := cgroupMode(nil); got != "none" {
		t.Errorf("mode %s, want none", got)
	}
}

func FuzzParseMountinfo(f *testing.F) {
	f.Add(`33 22 0:29 /a\040b /mnt/with\0 rw - bpf merlon rw`)
	f.Add(" - ")
	f.Fuzz(func(t *testing.T, s string) {
		for _, m := range parseMountinfo(s) {
			if len(m.path) > len(s) {
				t.Errorf("%q is longer than its source", m.path)
			}
		}
	})
}

func FuzzNLVerdict(f *testing.F) {
	f.Add(make([]byte, 36))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := nlVerdict(b); err == nil && len(b) < 20 {
			t.Error("a truncated acknowledgement passed")
		}
	})
}

// FuzzRefuse feeds fanotify events that name no descriptor of ours.
func FuzzRefuse(f *testing.F) {
	event := make([]byte, 24)
	event[0] = 24
	copy(event[16:], []byte{0xff, 0xff, 0xff, 0xff})
	f.Add(event)
	f.Fuzz(func(t *testing.T, b []byte) {
		for i := 16; i+4 <= len(b); i += 24 {
			copy(b[i:], []byte{0xff, 0xff, 0xff, 0xff}) // FAN_NOFD
		}
		if len(b) >= 24 && b[0] != 24 {
			b = b[:23]
		}
		_ = refuse(-1, b)
	})
}

func TestRemoveStale(t *testing.T) {
	k := open(t)
	t.Setenv("TMPDIR", t.TempDir())
	stale, live := filepath.Join(os.TempDir(), canaryName+"999999999-x"), filepath.Join(os.TempDir(), canaryName+"1-x")
	for _, dir := range []string{stale, live} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	k.removeStale()
	if _, err := os.Stat(stale); err == nil {
		t.Error("a dead agent's directory stays")
	}
	if _, err := os.Stat(live); err != nil {
		t.Error("a live process's directory was removed")
	}
}
