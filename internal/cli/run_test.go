package cli

import (
	"os"
	"path/filepath"
	"testing"
)

// Paths of flags are relative to where the command was typed.
func TestSettings(t *testing.T) {
	t.Chdir(t.TempDir())
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	f := runFlags{stateDir: "same", kinds: []string{"exec"}}
	cfg, err := f.settings("./s.sock")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.StateDir != filepath.Join(dir, "same") || cfg.Socket != filepath.Join(dir, "s.sock") {
		t.Errorf("state directory %s, socket %s, want them in %s", cfg.StateDir, cfg.Socket, dir)
	}
}
