package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/merlon/merlon/internal/event"
)

const kindExec = uint16(sharedEventKindKIND_EXEC)

// seeCanary is a canary that wants the exec of the canary command reported.
func seeCanary(ctx context.Context, p *Probe) error {
	pid, err := p.RunCanary(ctx)
	if err != nil {
		return err
	}
	return p.Await(ctx, kindExec, func(rec []byte) bool {
		return binary.NativeEndian.Uint32(rec[unsafe.Offsetof(unitT_record{}.Pid):]) == uint32(pid)
	})
}

func TestRank(t *testing.T) {
	k := open(t)
	hooks := []Hook{
		{Tier: "bad", Programs: []string{"t_bad"}, Guarantee: event.Prevent, Canary: seeCanary},
		{Tier: "silent", Programs: []string{"t_exec"}, Knobs: map[string]any{"t_silent": true}, Guarantee: event.Prevent, Canary: seeCanary},
		{Tier: "good", Programs: []string{"t_exec"}, Guarantee: event.Observe, Canary: seeCanary},
		{Tier: "never tried", Programs: []string{"t_never"}, Guarantee: event.Observe},
	}
	ranked := k.Rank(context.Background(), unitSpec(t), []FeatureSpec{
		{Name: "see exec", Group: "test", Essential: true, Hooks: hooks},
		{Name: "nothing", Group: "test", Hooks: hooks[:1]},
		{Name: "attach", Group: "test", Hooks: []Hook{{Tier: "proof", Programs: []string{"t_point"}, Guarantee: event.Observe}}},
	})
	if len(ranked) != 3 {
		t.Fatalf("%d features", len(ranked))
	}
	see := ranked[0]
	if see.Hook == nil || see.Hook.Tier != "good" || see.Tier != "good" || see.Guarantee != event.Observe || !see.Essential {
		t.Errorf("see exec: %+v", see)
	}
	if len(see.Tried) != 3 || see.Tried[0].Stage != "load" || see.Tried[1].Stage != "canary" || !see.Tried[2].OK {
		t.Errorf("tried %+v", see.Tried)
	}
	if !strings.HasPrefix(see.Why, "bad: ") || !strings.Contains(see.Tried[1].Cause, "no record") {
		t.Errorf("why %q, second cause %q", see.Why, see.Tried[1].Cause)
	}
	if n := ranked[1]; n.Hook != nil || n.Tier != "" || n.Guarantee != event.Absent || n.Why == "" {
		t.Errorf("nothing: %+v", n)
	}
	if a := ranked[2]; a.Tier != "proof" {
		t.Errorf("attach: %+v", a)
	}
	counts, err := k.Counts()
	if err != nil || len(counts) != 0 {
		t.Errorf("the shared books were touched: %v %v", counts, err)
	}
	if len(k.Links())+len(k.Programs()) != 0 {
		t.Errorf("left behind: %v %v", k.Links(), k.Programs())
	}
}

// TestAwaitKeeps wants records that come before the awaited one kept.
func TestAwaitKeeps(t *testing.T) {
	k := open(t)
	canary := func(ctx context.Context, p *Probe) error {
		var pids [3]int
		for i := range pids {
			pid, err := p.RunCanary(ctx)
			if err != nil {
				return err
			}
			pids[i] = pid
		}
		for i := range pids {
			pid := pids[len(pids)-1-i]
			if err := p.Await(ctx, kindExec, func(rec []byte) bool { return int(decode(t, rec).Pid) == pid }); err != nil {
				return fmt.Errorf("await %d of %v: %w", pid, pids, err)
			}
		}
		return nil
	}
	r := k.Rank(context.Background(), unitSpec(t), []FeatureSpec{{Name: "keep", Hooks: []Hook{{Tier: "t", Programs: []string{"t_exec"}, Canary: canary}}}})
	if !r[0].Tried[0].OK {
		t.Errorf("%+v", r[0].Tried)
	}
}

func TestRankCancelled(t *testing.T) {
	k := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r := k.Rank(ctx, unitSpec(t), []FeatureSpec{{Name: "f", Hooks: []Hook{{Tier: "t", Programs: []string{"t_exec"}, Canary: seeCanary}}}})
	if r[0].Hook != nil {
		t.Error("a cancelled canary passed")
	}
	if len(k.Links()) != 0 {
		t.Error("left attached")
	}
}

// rolePIDNS ranks in a pid namespace, where our pids are not the kernel's.
func rolePIDNS() (any, error) {
	k, err := Open(context.Background(), Options{Canary: []string{"/proc/self/exe", "-test.run=^$"}})
	if err != nil {
		return nil, err
	}
	if !k.Environment().PIDNS {
		return nil, errors.New("the pid namespace went unnoticed")
	}
	spec, err := loadUnit()
	if err != nil {
		return nil, err
	}
	if err := os.Unsetenv(modeEnv); err != nil {
		return nil, err
	}
	r := k.Rank(context.Background(), spec, []FeatureSpec{{Name: "f", Hooks: []Hook{{Tier: "t", Programs: []string{"t_exec"}, Canary: seeCanary}}}})
	if err := k.Close(); err != nil {
		return nil, err
	}
	return r[0].Tried, nil
}

func TestRankInPIDNamespace(t *testing.T) {
	needRoot(t)
	var tried []event.Attempt
	output(t, child("pidns", &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}), &tried)
	if len(tried) != 1 || !tried[0].OK {
		t.Errorf("%+v", tried)
	}
}
