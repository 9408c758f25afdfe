package privilege

import (
	"testing"

	"github.com/merlon/merlon/internal/kernel"
)

// verifiedMost is what the verifier may look at in one program of ours, far
// below its limit of a million.
const verifiedMost = 200_000

// TestVerifiedInstructions loads each program that this kernel takes.
func TestVerifiedInstructions(t *testing.T) {
	k := openKernel(t)
	spec, err := loadPrivilege()
	if err != nil {
		t.Fatal(err)
	}
	loaded := 0
	for name := range spec.Programs {
		u, err := k.Load(spec, kernel.LoadOptions{Name: name, Programs: []string{name}, Knobs: knobs(true)})
		if err != nil {
			continue // what this kernel refuses, Probe tells
		}
		loaded++
		info, err := u.Program(name).Info()
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := info.VerifiedInstructions(); ok {
			t.Logf("%-16s %6d", name, n)
			if n > verifiedMost {
				t.Errorf("%s: %d instructions verified, at most %d are allowed", name, n, verifiedMost)
			}
		}
		if err := u.Close(); err != nil {
			t.Errorf("close %s: %v", name, err)
		}
	}
	if loaded < 5 {
		t.Errorf("this kernel takes %d programs", loaded)
	}
}
