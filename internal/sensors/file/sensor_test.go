package file

import (
	"testing"

	"github.com/merlon/merlon/internal/event"
)

// TestProbe tells what this kernel can do, and wants all that it must.
func TestProbe(t *testing.T) {
	newSensor(t)
	for _, f := range probed.features {
		t.Logf("%-32s %-18s %s %s %+v", f.Name, f.Tier, f.Guarantee, f.Why, f.Tried)
	}
	for _, a := range probed.acts {
		if probed.tiers[a.kind] == "" && a.merged == "" {
			t.Errorf("%s: no tier", a.kind)
		}
	}
}

// TestEveryKind performs every act and looks for its event.
func TestEveryKind(t *testing.T) {
	h := start(t)
	for _, a := range probed.acts {
		t.Run(string(a.kind), func(t *testing.T) {
			h.t = t
			if h.sensor.tiers[a.kind] == "" {
				t.Skipf("not on this kernel: %s", a.merged)
			}
			path, err := perform(a.kind, tempDir(t))
			if err != nil {
				t.Fatal(err)
			}
			ev := h.of(a.kind, path)
			t.Logf("%+v %+v %+v", ev.Thread, ev.File, ev.Mount)
			_ = event.KindLoss
		})
	}
}
