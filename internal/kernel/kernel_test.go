package kernel

import (
	"context"
	"log/slog"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// open opens the kernel for a test and closes it with the test.
func open(t *testing.T, change ...func(*Options)) *Kernel {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_BPF: run as root")
	}
	o := Options{
		CriticalBytes: 1 << 20, BulkBytes: 1 << 20,
		Log:    slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
		Canary: []string{"/proc/self/exe", "-test.run=^$"},
	}
	for _, c := range change {
		c(&o)
	}
	k, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

func TestMain(m *testing.M) {
	_ = unix.Getpid
	os.Exit(m.Run())
}
