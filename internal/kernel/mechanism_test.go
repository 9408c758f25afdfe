package kernel

import (
	"context"
	"testing"
	"time"
)

func TestMechanisms(t *testing.T) {
	k := open(t)
	start := time.Now()
	features := k.Mechanisms(context.Background())
	t.Logf("%+v", k.Environment())
	t.Logf("took %v", time.Since(start))
	for _, f := range features {
		t.Logf("%-12s %-32s %-16s %-8s %s", f.Group, f.Name, f.Tier, f.Guarantee, f.Why)
		for _, a := range f.Tried {
			t.Logf("    %+v", a)
		}
	}
}
