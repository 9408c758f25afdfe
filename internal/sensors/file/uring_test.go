package file

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
)

// uringMkdir makes a directory by io_uring(7): one ring, one request. It
// returns the request's result.
func uringMkdir(t *testing.T, path string) int32 {
	t.Helper()
	const (
		opMkdirat    = 37 // IORING_OP_MKDIRAT, include/uapi/linux/io_uring.h
		enterGet     = 1  // IORING_ENTER_GETEVENTS
		paramsSize   = 120
		sqeSize      = 64
		offSQEs      = 0x10000000
		offSQ        = 0
		sqOff, cqOff = 40, 80 // struct io_sqring_offsets, io_cqring_offsets in the parameters
	)
	params := make([]byte, paramsSize)
	u32 := func(at int) int { return int(binary.NativeEndian.Uint32(params[at:])) }
	fd, _, e := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&params[0])), 0)
	if e != 0 {
		t.Skipf("io_uring: %v", e)
	}
	defer unix.Close(int(fd))
	entries := u32(0)
	size := max(u32(sqOff+24)+4*entries, u32(cqOff+20)+16*u32(4)) // IORING_FEAT_SINGLE_MMAP, Linux 5.4+
	ring, err := unix.Mmap(int(fd), offSQ, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(ring)
	sqes, err := unix.Mmap(int(fd), offSQEs, entries*sqeSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(sqes)
	name := append([]byte(path), 0)
	sqes[0] = opMkdirat
	binary.NativeEndian.PutUint32(sqes[4:], ^uint32(99)) // AT_FDCWD
	binary.NativeEndian.PutUint64(sqes[16:], uint64(uintptr(unsafe.Pointer(&name[0]))))
	binary.NativeEndian.PutUint32(sqes[24:], 0o700)
	binary.NativeEndian.PutUint32(ring[u32(sqOff+24):], 0) // array[0] = the first request
	binary.NativeEndian.PutUint32(ring[u32(sqOff+4):], 1)  // tail
	if _, _, e := unix.Syscall6(unix.SYS_IO_URING_ENTER, fd, 1, 1, enterGet, 0, 0); e != 0 {
		t.Fatal(e)
	}
	runtime.KeepAlive(name)
	return int32(binary.NativeEndian.Uint32(ring[u32(cqOff+20)+8:])) // cqes[0].res
}

// TestURing makes a directory without a system call of that name.
func TestURing(t *testing.T) {
	h := start(t)
	path := filepath.Join(tempDir(t), "by-uring")
	if res := uringMkdir(t, path); res == -int32(unix.EINVAL) {
		t.Skip("this kernel's io_uring makes no directories (Linux 5.15 has it)")
	} else if res != 0 {
		t.Fatal(unix.Errno(-res))
	}
	ev := h.of(event.KindFileCreate, path)
	if ev.File.Type != "dir" || ev.Thread.PID != uint32(os.Getpid()) {
		t.Errorf("%+v by %+v", ev.File, ev.Thread)
	}
	if !ev.File.Merged && ev.File.Via != "io_uring" {
		t.Errorf("via %q", ev.File.Via)
	}
}
