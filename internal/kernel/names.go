package kernel

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// Family names an address family as events do (address_families(7)).
func Family(f uint16) string {
	switch f {
	case unix.AF_UNIX:
		return "unix"
	case unix.AF_INET:
		return "inet"
	case unix.AF_INET6:
		return "inet6"
	case unix.AF_NETLINK:
		return "netlink"
	case unix.AF_PACKET:
		return "packet"
	case unix.AF_VSOCK:
		return "vsock"
	}
	return strconv.Itoa(int(f))
}

// SocketType names a type of socket as events do (socket(2)).
func SocketType(t uint16) string {
	switch t {
	case unix.SOCK_STREAM:
		return "stream"
	case unix.SOCK_DGRAM:
		return "dgram"
	case unix.SOCK_RAW:
		return "raw"
	case unix.SOCK_SEQPACKET:
		return "seqpacket"
	}
	return strconv.Itoa(int(t))
}
