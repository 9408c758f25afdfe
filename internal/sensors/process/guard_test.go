package process

import (
	"runtime"
	"testing"
)

func TestGuard(t *testing.T) {
	var g guard
	if v, ok := guarded(&g, func() int { return 7 }); v != 7 || !ok {
		t.Fatalf("a quick read: %d %v", v, ok)
	}
	hang := make(chan struct{})
	begun := make(chan struct{}, 10)
	for range 2 * guardStuck {
		if _, ok := guarded(&g, func() int { begun <- struct{}{}; <-hang; return 1 }); ok {
			t.Fatal("a hanging read returned")
		}
	}
	if n := len(begun); n != guardStuck {
		t.Errorf("%d hanging reads were begun, want %d", n, guardStuck)
	}
	close(hang)
	for g.stuck.Load() != 0 { // they end once the kernel lets go
		runtime.Gosched()
	}
	if v, ok := guarded(&g, func() int { return 8 }); v != 8 || !ok {
		t.Errorf("after the hang: %d %v", v, ok)
	}
}
