package app

import (
	"slices"
	"strings"
	"testing"

	"github.com/merlon/merlon/internal/api"
	"github.com/merlon/merlon/internal/config"
	"github.com/merlon/merlon/internal/event"
)

func TestPerSyscall(t *testing.T) {
	for attach, want := range map[string]bool{
		"raw_tp/sys_enter": true, "tp_btf/sys_exit": true, "tracepoint/syscalls/sys_enter_openat": true, "tp/raw_syscalls/sys_exit": true,
		"syscalls:sys_exit_read": true, "raw_tp/sched_process_exec": false, "kprobe/__x64_sys_bpf": false, "fentry/ksys_unshare": false,
		"cgroup/connect4": false, "": false,
	} {
		if perSyscall(attach) != want {
			t.Errorf("%s: %v, want %v", attach, !want, want)
		}
	}
}

// Connections are told with the name they were made for, which takes DNS.
func TestWithNames(t *testing.T) {
	asked := make([]event.Kind, 1, 8)
	asked[0] = event.KindNetConnect
	if got := withNames(asked); !slices.Equal(got, []event.Kind{event.KindNetConnect, event.KindDNS}) || len(asked[:2][1]) != 0 {
		t.Errorf("got %v, and %q was written behind the slice asked for", got, asked[:2][1])
	}
	if got := withNames([]event.Kind{event.KindNetBind}); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

func TestUsual(t *testing.T) {
	a := &Agent{cfg: config.Default()}
	if got := a.usual(); slices.Contains(got, event.KindFileOpen) || !slices.Contains(got, event.KindLoss) || !slices.Contains(got, event.KindCgroup) {
		t.Errorf("default: %v", got)
	}
	a.cfg.Events.Kinds, a.cfg.Events.ReadPaths = nil, []string{"/etc/"}
	if got := a.usual(); !slices.Equal(got, []event.Kind{event.KindFileOpen, event.KindLoss}) {
		t.Errorf("paths alone: %v", got)
	}
}

func TestUnseen(t *testing.T) {
	p := unseen(&api.Need{Kind: event.KindKexec, Sensors: []string{"privilege"}, Tiers: []api.Tier{{Why: "locked down", Cure: "boot otherwise"}}})
	if !strings.Contains(p.Message, "kexec is not seen on this kernel: locked down") || p.Cure != "boot otherwise" {
		t.Errorf("%+v", p)
	}
	if p := unseen(&api.Need{Kind: event.KindKexec}); !strings.Contains(p.Message, "no sensor of this version") {
		t.Errorf("%+v", p)
	}
}
