package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls without Go's scheduler around them and without copies: only
// those that don't block.

func rawOpen(name *byte, flags int) (uintptr, error) {
	at := unix.AT_FDCWD
	fd, _, errno := unix.RawSyscall6(unix.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(name)), uintptr(flags|unix.O_CLOEXEC), 0o600, 0, 0)
	return fd, failed(errno)
}

func rawUnlink(name *byte) error {
	at := unix.AT_FDCWD
	_, _, errno := unix.RawSyscall(unix.SYS_UNLINKAT, uintptr(at), uintptr(unsafe.Pointer(name)), 0)
	return failed(errno)
}

func rawRead(fd uintptr, b []byte) error {
	_, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return failed(errno)
}

func rawWrite(fd uintptr, b []byte) error {
	_, _, errno := unix.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return failed(errno)
}

func rawClose(fd uintptr) error {
	_, _, errno := unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
	return failed(errno)
}

// rawTCP makes a TCP socket.
func rawTCP() (uintptr, error) {
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	return fd, failed(errno)
}

func rawConnect(fd uintptr, to *unix.RawSockaddrInet4) error {
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(to)), unix.SizeofSockaddrInet4)
	return failed(errno)
}

func rawAccept(listener uintptr) (uintptr, error) {
	fd, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, listener, 0, 0, unix.SOCK_CLOEXEC, 0, 0)
	return fd, failed(errno)
}

// rawLinger makes a close of the socket reset its connection.
func rawLinger(fd uintptr) error {
	l := unix.Linger{Onoff: 1}
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_LINGER, uintptr(unsafe.Pointer(&l)), unix.SizeofLinger, 0)
	return failed(errno)
}

func failed(errno unix.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}
