package file

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// TestMain turns the test binary into a child that makes a file.
func TestMain(m *testing.M) {
	if path := os.Getenv("MERLON_TEST_MAKE"); path != "" {
		if os.WriteFile(path, []byte("child"), 0o600) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if shared.stop != nil {
		if err := shared.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the shared sensor:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// runChild makes a file by a process of its own.
func runChild(t *testing.T, path string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"MERLON_TEST_MAKE=" + path}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
}
