package app

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/merlon/merlon/internal/config"
)

// Left tells what agents made that is still there: mounts and pins. After Run
// nothing is, unless somebody else uses it.
func Left(c *config.Config) ([]string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	left := ourMounts(string(b))
	if pins, err := os.ReadDir(c.Kernel.PinDir); err == nil && len(pins) > 0 {
		left = append(left, "pins in "+c.Kernel.PinDir)
	}
	return left, nil
}

// ourMounts finds the mounts that package kernel marked as made by an agent: by
// source, or where an old kernel forgets the source, by the mode of the bpffs.
func ourMounts(mountinfo string) []string {
	var list []string
	for line := range strings.Lines(mountinfo) {
		left, right, _ := strings.Cut(line, " - ")
		at, fs := strings.Fields(left), strings.Fields(right)
		if len(at) < 5 || len(fs) < 3 {
			continue
		}
		if fs[1] == "merlon" || fs[0] == "bpf" && slices.Contains(strings.Split(fs[2], ","), "mode=2700") {
			list = append(list, fs[0]+" mounted at "+at[4])
		}
	}
	return list
}
