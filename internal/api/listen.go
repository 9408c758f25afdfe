package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Listen opens the unix socket at path. A socket file that no process answers
// is left over and replaced; a live one, or a file that is no socket, is an
// error. gid is the group that may connect; everybody may connect when
// everyone is set, and then the peer's credentials alone decide.
func Listen(path string, gid int, everyone bool) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make directory of the socket: %w", err)
	}
	if err := clearStale(path); err != nil {
		return nil, err
	}
	// The mode is right from the first moment: the umask hides the socket
	// until its owner is set.
	old := syscall.Umask(0o177)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	mode := fs.FileMode(0o600)
	if gid >= 0 {
		mode, err = 0o660, os.Chown(path, -1, gid)
	}
	if everyone {
		mode = 0o666
	}
	if err = errors.Join(err, os.Chmod(path, mode)); err != nil {
		return nil, errors.Join(fmt.Errorf("set owner and mode of %s: %w", path, err), l.Close())
	}
	return l, nil
}

// TakenError says that a process answers on the socket already.
type TakenError struct {
	Path string
	PID  int // 0 when the kernel doesn't tell
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("listen on %s: process %d answers there; stop it or choose another --socket", e.Path, e.PID)
}

// Taken returns a *TakenError when somebody listens on the socket at path, even
// when too busy to answer, or when that can't be told from here.
func Taken(path string) error {
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, os.ErrDeadlineExceeded): // its queue is full
		return &TakenError{Path: path}
	case err != nil:
		return fmt.Errorf("look at socket: %w", err)
	}
	p, _ := peerOf(c) // pid 0 then
	_ = c.Close()
	return &TakenError{Path: path, PID: int(p.pid)}
}

func clearStale(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at socket: %w", err)
	}
	if st.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("listen on %s: the file exists and is no socket; remove it or choose another --socket", path)
	}
	if taken := Taken(path); taken != nil {
		return taken
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove left-over socket: %w", err)
	}
	return nil
}

// Bounds on connections.
const (
	maxConns    = 256 // open at a time
	maxRefusals = 16  // being told no at a time
)

// guard is a listener that only lets peers in who may read. The others get
// their refusal and nothing else, so that they can't keep connections.
type guard struct {
	net.Listener
	access   Access
	conns    chan struct{} // one per open connection
	refusals chan struct{} // one per refusal under way
}

func newGuard(l net.Listener, a Access) *guard {
	return &guard{Listener: l, access: a, conns: make(chan struct{}, maxConns), refusals: make(chan struct{}, maxRefusals)}
}

// Accept implements net.Listener.
func (g *guard) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		p, err := peerOf(c)
		if err == nil && g.access.mayRead(p) {
			if take(g.conns) {
				return &peerConn{Conn: c, peer: p, slots: g.conns}, nil
			}
		} else if take(g.refusals) {
			go g.refuse(c, p)
			continue
		}
		_ = c.Close()
	}
}

func take(slots chan struct{}) bool {
	select {
	case slots <- struct{}{}:
		return true
	default:
		return false
	}
}

// refuse reads the request, so that the peer can finish writing it, and
// answers 403. It ends within a second.
func (g *guard) refuse(c net.Conn, p peer) {
	defer func() { <-g.refusals }()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	_, _ = c.Read(make([]byte, 8192))
	body := `{"error":"user ` + strconv.FormatUint(uint64(p.uid), 10) + ` may not read from this agent",` +
		`"cure":"use sudo, or add the user to api.read_uids or a group to api.read_gids or socket_group in the configuration"}` + "\n"
	_, _ = c.Write([]byte("HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " +
		strconv.Itoa(len(body)) + "\r\n\r\n" + body))
	_ = c.Close()
}

// peerConn is a connection whose peer is known.
type peerConn struct {
	net.Conn
	peer  peer
	slots chan struct{}
	once  sync.Once
}

// Close implements net.Conn.
func (c *peerConn) Close() error {
	c.once.Do(func() { <-c.slots })
	return c.Conn.Close()
}

func connContext(ctx context.Context, c net.Conn) context.Context {
	if pc, ok := c.(*peerConn); ok {
		return withPeer(ctx, pc.peer)
	}
	return ctx
}
