package app

import (
	"fmt"
	"os"
	"testing"

	"github.com/merlon/merlon/internal/event"
)

// Only our own children are canaries, whatever others call their files.
func TestCanary(t *testing.T) {
	self := uint32(os.Getpid())
	exe := event.Text(fmt.Sprintf("/tmp/merlon-canary-%d-123/child", self))
	for _, c := range []struct {
		name string
		p    *event.Process
		want bool
	}{
		{"ours", &event.Process{PPID: self, Exe: exe}, true},
		{"somebody else's child", &event.Process{PPID: self + 1, Exe: exe}, false},
		{"another file", &event.Process{PPID: self, Exe: "/tmp/child"}, false},
		{"no process", nil, false},
	} {
		if got := Canary(c.p); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
