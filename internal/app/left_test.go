package app

import (
	"slices"
	"testing"
)

func TestOurMounts(t *testing.T) {
	const mountinfo = `22 1 0:21 / /sys rw,relatime shared:2 - sysfs sysfs rw
30 22 0:6 / /sys/kernel/tracing rw,nosuid - tracefs merlon rw
31 22 0:7 / /sys/kernel/security rw,nosuid - securityfs securityfs rw
32 22 0:8 / /sys/fs/bpf rw,nosuid - bpf none rw,mode=2700
33 22 0:9 / /sys/fs/bpf2 rw,nosuid - bpf bpf rw,mode=700
broken merlon
`
	want := []string{"tracefs mounted at /sys/kernel/tracing", "bpf mounted at /sys/fs/bpf"}
	if got := ourMounts(mountinfo); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSeen(t *testing.T) {
	s := NewSeen(2)
	for i, c := range []struct {
		id  string
		new bool
	}{{"a", true}, {"b", true}, {"a", false}, {"c", true}, {"b", false}, {"a", true}, {"c", false}, {"b", true}} {
		if got := s.Add(c.id); got != c.new {
			t.Errorf("step %d: %s is new: %v", i, c.id, got)
		}
	}
	if len(s.ids) != 2 {
		t.Errorf("%d ids are kept", len(s.ids))
	}
}
