package network

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// rawSockaddr is a sockaddr_in that stays in place, so that another thread can
// write to it while connect(2) reads it.
type rawSockaddr struct{ mem []byte }

func newRawSockaddr(at netip.AddrPort) *rawSockaddr {
	mem, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil
	}
	r := &rawSockaddr{mem: mem}
	sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&mem[0]))
	sa.Family, sa.Addr = unix.AF_INET, at.Addr().As4()
	r.port(at.Port())
	return r
}

// port writes the family and the port in one go.
func (r *rawSockaddr) port(p uint16) {
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&r.mem[0])), uint32(unix.AF_INET)|uint32(p>>8|p<<8)<<16)
}

func (r *rawSockaddr) connect(fd int) error {
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&r.mem[0])), unix.SizeofSockaddrInet4)
	if errno != 0 {
		return errno
	}
	return nil
}

// sortedStrings compares lists as sets.
var sortedStrings = cmp.Transformer("sorted", func(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
})
