package dns

import (
	"testing"

	"github.com/merlon/merlon/internal/kernel"
)

// verifiedMost is what the verifier may look at in one program of ours.
const verifiedMost = 20_000

// TestVerifiedInstructions prints them for docs/sensors/dns.md.
func TestVerifiedInstructions(t *testing.T) {
	k := openKernel(t)
	spec, err := loadDns()
	if err != nil {
		t.Fatal(err)
	}
	u, err := k.Load(spec, kernel.LoadOptions{Name: "dns", Programs: programs()})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for _, name := range programs() {
		info, err := u.Program(name).Info()
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := info.VerifiedInstructions(); ok { // Linux 5.16
			t.Logf("%-16s %6d", name, n)
			if n > verifiedMost {
				t.Errorf("%s: %d instructions verified, at most %d are allowed", name, n, verifiedMost)
			}
		}
	}
}
