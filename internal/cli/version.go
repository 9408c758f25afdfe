package cli

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Build says which build this is; empty fields are filled in from what Go
// recorded.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
	Arch    string `json:"arch"`
}

func (b Build) complete() Build {
	b.Go, b.Arch = runtime.Version(), runtime.GOARCH
	info, ok := debug.ReadBuildInfo()
	if ok {
		if b.Version == "" {
			b.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && b.Commit == "" {
				b.Commit = s.Value
			}
		}
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "unknown"
	}
	return b
}

func versionCommand(e *env) *cobra.Command {
	c := &cobra.Command{
		Use: "version", Short: "Print which build this is", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			b := e.build.complete()
			if e.json {
				return e.out.json(b)
			}
			e.out.linef("merlon %s", b.Version)
			if b.Commit != "" {
				e.out.linef("commit %s", b.Commit)
			}
			e.out.linef("%s %s", b.Go, b.Arch)
			return nil
		},
	}
	jsonFlag(e, c)
	return c
}
