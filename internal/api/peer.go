package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// peer is the process at the other end of the socket, as the kernel tells it.
type peer struct {
	pid      int32
	uid, gid uint32
	groups   []uint32 // supplementary
}

// maxGroups bounds the groups read of a peer; the kernel's own limit is 65536
// (NGROUPS_MAX, include/uapi/linux/limits.h), people have a dozen.
const maxGroups = 1024

// peerOf asks the kernel who connected (SO_PEERCRED and SO_PEERGROUPS,
// unix(7)): the credentials are those at the time of connect(2).
func peerOf(c net.Conn) (peer, error) {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return peer{}, errors.New("read peer credentials: not a unix socket")
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return peer{}, fmt.Errorf("read peer credentials: %w", err)
	}
	var p peer
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			credErr = err
			return
		}
		p = peer{pid: cred.Pid, uid: cred.Uid, gid: cred.Gid, groups: peerGroups(fd)}
	})
	if err := errors.Join(err, credErr); err != nil {
		return peer{}, fmt.Errorf("read peer credentials: %w", err)
	}
	return p, nil
}

// peerGroups returns the supplementary groups; none when the kernel doesn't
// tell, or when there are too many.
func peerGroups(fd uintptr) []uint32 {
	groups := make([]uint32, maxGroups)
	size := uint32(len(groups) * 4)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
		uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return nil
	}
	return groups[:size/4]
}

// Access says who may do what, besides root.
type Access struct {
	ReadUIDs, ReadGIDs []uint32 // may read
	AdminUIDs          []uint32 // may read and change
}

// mayRead reports whether p may read.
func (a Access) mayRead(p peer) bool {
	return a.mayChange(p) || slices.Contains(a.ReadUIDs, p.uid) || slices.Contains(a.ReadGIDs, p.gid) ||
		slices.ContainsFunc(p.groups, func(g uint32) bool { return slices.Contains(a.ReadGIDs, g) })
}

// mayChange reports whether p may change the running agent.
func (a Access) mayChange(p peer) bool { return p.uid == 0 || slices.Contains(a.AdminUIDs, p.uid) }

type peerKey struct{}

func withPeer(ctx context.Context, p peer) context.Context {
	return context.WithValue(ctx, peerKey{}, p)
}

// peerFrom returns the peer of a request.
func peerFrom(ctx context.Context) (peer, bool) {
	p, ok := ctx.Value(peerKey{}).(peer)
	return p, ok
}
