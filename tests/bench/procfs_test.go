package main

import (
	"os"
	"runtime/debug"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAnonymous(t *testing.T) {
	debug.FreeOSMemory() // so that nothing goes back between the two looks
	before, err := anonymous(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(b)
	for i := 0; i < size; i += os.Getpagesize() {
		b[i] = 1
	}
	after, err := anonymous(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if grown := after - before; grown < size*9/10 || grown > size*11/10 {
		t.Errorf("%d bytes touched, anonymous memory grew by %d", size, grown)
	}
}

func TestCPUTime(t *testing.T) {
	for _, read := range []func(int) (time.Duration, error){cpuTime, cpuTicks} {
		before, err := read(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		used := before
		for n := 0; used < before+50*time.Millisecond; n++ {
			if used, err = read(os.Getpid()); err != nil {
				t.Fatal(err)
			}
			if n > 10_000_000 {
				t.Fatal("CPU time does not pass")
			}
		}
	}
}

func TestFields(t *testing.T) {
	m := fields("map_type:\t27\nmap_id:\t5\nno colon\nmax_entries:\t4096\n")
	if m["map_type"] != "27" || m["map_id"] != "5" || m["max_entries"] != "4096" || len(m) != 3 {
		t.Errorf("got %v", m)
	}
}
