package main

import (
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/tests/vm"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestRender(t *testing.T) {
	kernels := []vm.Kernel{
		{Name: "arm64-6.1", Arch: "arm64", Note: "no trampolines"},
		{Name: "amd64-6.12", Arch: "amd64", Note: "LSM list with bpf"},
	}
	facts := []vm.Facts{
		{Kernel: "arm64-6.1", Release: "6.1.0-50", LSM: "capability,bpf", Packages: map[string][]vm.Fact{
			"internal/kernel": {
				{Type: vm.FactFeature, Group: "enforcement", Name: "deny exec", Why: "attach LSM: <not supported>\n(a|b)"},
				{Type: vm.FactFeature, Group: "processes", Name: "see exec", Tier: "raw tracepoint", Guarantee: event.Observe},
			},
		}},
		{Kernel: "amd64-6.12", Release: "6.12.95", LSM: "capability,bpf", Packages: map[string][]vm.Fact{
			"internal/kernel": {
				{Type: vm.FactFeature, Group: "enforcement", Name: "deny exec", Tier: "LSM", Guarantee: event.Prevent},
				{Type: vm.FactInsns, Program: "exec", Count: 1},
				{Type: vm.FactInsns, Program: "fork"},
			},
			"internal/sensors/process": {{Type: vm.FactInsns, Program: "exec", Count: 27000}, {Type: vm.FactInsns, Program: "exit", Count: 900}},
		}},
		{Kernel: "amd64-4.19", Release: "4.19", Packages: nil}, // no longer in the matrix
	}
	got := Render(kernels, facts)
	const file = "testdata/page.md"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
}
