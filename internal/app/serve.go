package app

import (
	"context"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
	"sync"

	"github.com/merlon/merlon/internal/api"
)

// access says who may use the API besides root.
func (a *Agent) access() api.Access {
	acc := api.Access{ReadUIDs: a.cfg.API.ReadUIDs, ReadGIDs: a.cfg.API.ReadGIDs, AdminUIDs: a.cfg.API.AdminUIDs}
	if gid, ok := a.socketGroup(); ok {
		acc.ReadGIDs = append(append([]uint32(nil), acc.ReadGIDs...), uint32(gid))
	}
	if uid := os.Getuid(); uid != 0 {
		acc.AdminUIDs = append(append([]uint32(nil), acc.AdminUIDs...), uint32(uid)) // the agent's own user
	}
	return acc
}

// socketGroup looks up socket_group; a number is a group id.
func (a *Agent) socketGroup() (gid int, ok bool) {
	name := a.cfg.SocketGroup
	if name == "" {
		return -1, false
	}
	if g, err := user.LookupGroup(name); err == nil {
		name = g.Gid
	}
	gid, err := strconv.Atoi(name)
	if err != nil || gid < 0 {
		a.trouble.tell("socket group", "there is no group "+name, "make it, or change socket_group in the configuration")
		return -1, false
	}
	return gid, true
}

// listeners are where the API answers; nil where it can't.
type listeners struct{ socket, metrics net.Listener }

// listen opens the socket, and the loopback port if there is one. Neither is
// worth ending the agent for, unless another agent answers there.
func (a *Agent) listen(ctx context.Context) (listeners, error) {
	var ls listeners
	gid, _ := a.socketGroup()
	everyone := len(a.cfg.API.ReadUIDs)+len(a.cfg.API.ReadGIDs)+len(a.cfg.API.AdminUIDs) > 0
	if l, err := api.Listen(a.cfg.Socket, gid, everyone); socketTaken(err) != nil {
		return ls, socketTaken(err)
	} else if err != nil {
		a.trouble.tell("api", err.Error(), "clients can't reach this agent; free "+a.cfg.Socket+" or choose another --socket, and start again")
	} else {
		ls.socket = l
	}
	if a.cfg.Metrics.Listen == "" {
		return ls, nil
	}
	addr := strings.Replace(a.cfg.Metrics.Listen, "localhost:", "127.0.0.1:", 1)
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		a.trouble.tell("metrics", err.Error(), "free "+addr+" or choose another metrics.listen, and start again; /metrics is on the socket too")
		return ls, nil
	}
	ls.metrics = l
	return ls, nil
}

// serve answers until ctx ends, and closes the listeners.
func (a *Agent) serve(ctx context.Context, ls listeners) {
	var wg sync.WaitGroup
	defer wg.Wait()
	serve := func(part string, l net.Listener, f func(context.Context, net.Listener) error) {
		if l == nil {
			return
		}
		wg.Go(func() {
			if err := f(ctx, l); err != nil {
				a.trouble.tell(part, err.Error(), "start the agent again")
			}
		})
	}
	serve("api", ls.socket, a.server.Serve)
	serve("metrics", ls.metrics, a.server.ServeMetrics)
}

// notify tells systemd of a change (sd_notify(3)), when it started us.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	if strings.HasPrefix(path, "@") {
		path = "\x00" + path[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return // systemd notices by itself that it isn't told
	}
	_, _ = c.Write([]byte(state))
	_ = c.Close()
}
