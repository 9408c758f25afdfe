package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// nlRequest sends one rtnetlink or sock_diag request from the calling thread's
// network namespace, and returns the kernel's verdict (netlink(7)).
func nlRequest(family int, typ, flags uint16, payload []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, family)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer func() { _ = unix.Close(fd) }() // nothing buffered
	timeout := unix.Timeval{Sec: 1}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	msg := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(payload)))
	msg = binary.NativeEndian.AppendUint16(msg, typ)
	msg = binary.NativeEndian.AppendUint16(msg, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	msg = append(msg, make([]byte, 8)...) // sequence and port: one request, one answer
	msg = append(msg, payload...)
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send netlink: %w", err)
	}
	buf := make([]byte, os.Getpagesize())
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return fmt.Errorf("read netlink: %w", err)
	}
	return nlVerdict(buf[:n])
}

// nlVerdict reads the error of an acknowledgement, 0 for success.
func nlVerdict(b []byte) error {
	if len(b) < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(b[4:]) != unix.NLMSG_ERROR {
		return errors.New("read netlink: not an acknowledgement")
	}
	if e := int32(binary.NativeEndian.Uint32(b[unix.NLMSG_HDRLEN:])); e != 0 {
		return unix.Errno(-e)
	}
	return nil
}

// nlAttr makes one attribute, padded.
func nlAttr(typ uint16, parts ...[]byte) []byte {
	var data []byte
	for _, p := range parts {
		data = append(data, p...)
	}
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, data...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

func nlString(s string) []byte { return append([]byte(s), 0) }

func nlUint32(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// addVeth makes a pair of virtual interfaces (veth(4)).
func addVeth(name, peer string) error {
	const infoPeer = 1 // VETH_INFO_PEER, include/uapi/linux/veth.h
	ifinfo := make([]byte, unix.SizeofIfInfomsg)
	msg := append(append([]byte{}, ifinfo...), nlAttr(unix.IFLA_IFNAME, nlString(name))...)
	msg = append(msg, nlAttr(unix.IFLA_LINKINFO,
		nlAttr(unix.IFLA_INFO_KIND, nlString("veth")),
		nlAttr(unix.IFLA_INFO_DATA, nlAttr(infoPeer, ifinfo, nlAttr(unix.IFLA_IFNAME, nlString(peer)))))...)
	if err := nlRequest(unix.NETLINK_ROUTE, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, msg); err != nil {
		return fmt.Errorf("make a veth pair: %w", err)
	}
	return nil
}

// tcMsg is struct tcmsg (include/uapi/linux/rtnetlink.h).
func tcMsg(ifindex int, handle, parent, info uint32) []byte {
	b := make([]byte, 4)
	b = append(b, nlUint32(uint32(ifindex))...)
	b = append(b, nlUint32(handle)...)
	b = append(b, nlUint32(parent)...)
	return append(b, nlUint32(info)...)
}

// addClassicFilter puts a program on an interface's ingress as a classic TC
// filter in direct-action mode (tc-bpf(8)). It stays until the interface or
// its clsact qdisc goes: no link holds it.
func addClassicFilter(ifindex, fd int) error {
	const clsact, ingress = 0xfffffff1, 0xfffffff2 // TC_H_CLSACT; TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)
	const bpfFD, bpfName, bpfFlags, directAction = 6, 7, 8, 1
	msg := append(tcMsg(ifindex, 0xffff0000, clsact, 0), nlAttr(unix.TCA_KIND, nlString("clsact"))...)
	if err := nlRequest(unix.NETLINK_ROUTE, unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL, msg); err != nil {
		return fmt.Errorf("add qdisc clsact: %w", err)
	}
	protocol := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL & 0xff})
	msg = append(tcMsg(ifindex, 0, ingress, 1<<16|uint32(protocol)), nlAttr(unix.TCA_KIND, nlString("bpf"))...)
	msg = append(msg, nlAttr(unix.TCA_OPTIONS, nlAttr(bpfFD, nlUint32(uint32(fd))),
		nlAttr(bpfName, nlString("merlon")), nlAttr(bpfFlags, nlUint32(directAction)))...)
	if err := nlRequest(unix.NETLINK_ROUTE, unix.RTM_NEWTFILTER, unix.NLM_F_CREATE|unix.NLM_F_EXCL, msg); err != nil {
		return fmt.Errorf("add filter: %w", err)
	}
	return nil
}

// diagDestroy ends the TCP connection over IPv4 loopback from port sport to
// port dport (sock_diag(7); struct inet_diag_req_v2).
func diagDestroy(sport, dport uint16) error {
	const sockDestroy = 21 // SOCK_DESTROY, include/uapi/linux/sock_diag.h
	loopback := append([]byte{127, 0, 0, 1}, make([]byte, 12)...)
	msg := []byte{unix.AF_INET, unix.IPPROTO_TCP, 0, 0, 0xff, 0xff, 0xff, 0xff}
	msg = binary.BigEndian.AppendUint16(msg, sport)
	msg = binary.BigEndian.AppendUint16(msg, dport)
	msg = append(append(msg, loopback...), loopback...)
	msg = append(msg, 0, 0, 0, 0)                                     // any interface
	msg = append(msg, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff) // INET_DIAG_NOCOOKIE
	return nlRequest(unix.NETLINK_SOCK_DIAG, sockDestroy, 0, msg)
}
