package network

import (
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestFlowReuse makes sockets with two peers, whose flows outlive them, and then
// others, which the kernel puts where the first were: their flows are their own.
func TestFlowReuse(t *testing.T) {
	h := start(t)
	const sockets = 30
	var set unix.CPUSet
	set.Set(0) // what is freed there is taken again there
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	rename(t, "first")
	first, used := map[uint64]bool{}, map[string]bool{}
	for range sockets {
		cookie, at := datagrams(t, 1001, 1002)
		first[cookie], used[at] = true, true
	}
	rename(t, "second")
	var second []uint64
	reused := 0
	for range sockets {
		if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, 1, 0, 0); errno != 0 { // MEMBARRIER_CMD_GLOBAL: a grace period
			t.Fatal(errno)
		}
		cookie, at := datagrams(t, 1001)
		second = append(second, cookie)
		if used[at] {
			reused++
		}
	}
	for _, cookie := range second {
		begin, end := h.flowEvents(cookie, 1001)
		if begin.Thread.Comm != "second" || end.Thread != begin.Thread || end.Net.PacketsOut != 1 || end.Net.BytesOut != 9 {
			t.Errorf("%+v %+v %+v", begin.Thread, end.Thread, end.Net)
		}
	}
	h.idle(time.Nanosecond)
	h.sensor.sweep(feed{h})
	for cookie := range first {
		for _, port := range []uint16{1001, 1002} {
			begin, end := h.flowEvents(cookie, port)
			if begin.Thread.Comm != "first" || end.Thread != begin.Thread || end.Net.PacketsOut != 1 || end.Net.BytesOut != 9 {
				t.Errorf("%+v %+v %+v", begin.Thread, end.Thread, end.Net)
			}
		}
	}
	t.Logf("%d of %d sockets lay where one was before", reused, sockets)
	if reused == 0 {
		t.Skip("the kernel put no socket where one was before")
	}
}

// rename names the test's thread.
func rename(t *testing.T, comm string) {
	t.Helper()
	name := must(unix.BytePtrFromString(comm))(t)
	if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(name)), 0, 0, 0); err != nil {
		t.Fatal(err)
	}
}

// datagrams sends one to each port, and returns the number of the socket and
// what the kernel prints for its address; it has ended then.
func datagrams(t *testing.T, ports ...int) (cookie uint64, at string) {
	t.Helper()
	fd := must(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))(t)
	defer unix.Close(fd)
	cookie = cookieOf(t, fd)
	for _, port := range ports {
		err := unix.Sendto(fd, []byte("datagrams"), 0, onLoopback(port))
		if err == unix.ECONNREFUSED { // of the one before: nobody listens
			err = unix.Sendto(fd, []byte("datagrams"), 0, onLoopback(port))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	table := strings.TrimSpace(string(must(os.ReadFile("/proc/thread-self/net/udp"))(t)))
	fields := strings.Fields(table[strings.LastIndexByte(table, '\n')+1:])
	return cookie, fields[len(fields)-2] // ... pointer drops
}
