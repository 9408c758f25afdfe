package privilege

import (
	"strings"
	"testing"

	"github.com/merlon/merlon/internal/event"
)

// TestOneHookAllHooks: where the kernel lets hooks in at all, every kind is
// seen by one; else the fault is ours.
func TestOneHookAllHooks(t *testing.T) {
	h := start(t, false, event.KindSetuid)
	if w := h.sensor.chosen[event.KindSetuid]; w == nil || w.by != byAct {
		t.Skip("this kernel lets neither trampolines nor kprobes in")
	}
	for _, k := range h.sensor.Info().Kinds {
		if k == event.KindPerfOpen && strings.Contains(feature(k, false).Why, "__x64_sys_perf_event_open") {
			t.Logf("%s: not on this kernel, whose function has no symbol: %s", k, feature(k, false).Why)
			continue
		}
		if w := h.sensor.chosen[k]; w == nil || w.by != byAct {
			t.Errorf("%s: %+v", k, feature(k, false).Tried)
		}
	}
}
