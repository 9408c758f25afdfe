package api

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/merlon/merlon/internal/event"
)

// A client that reads nothing while much is written to it is cut off when the
// server stops: Serve ends by itself, before it would close the connection.
func TestStopWithStalledClient(t *testing.T) {
	var log bytes.Buffer // read after Serve's end
	hub := NewHub(4096, 64<<20, 4)
	s, err := New(Options{Hub: hub, Access: Access{ReadUIDs: []uint32{uint32(os.Getuid())}}, Level: new(slog.LevelVar), Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path, -1, false)
	if err != nil {
		t.Fatal(err)
	}
	big := event.Text(make([]byte, 4096))
	for range 4096 {
		hub.Event(&event.Event{Kind: event.KindExec, Exec: &event.Exec{Filename: big}})
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /v1/events?follow=1 HTTP/1.1\r\nHost: merlon\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 4096)); err != nil { // it writes now, more than a socket holds
		t.Fatal(err)
	}
	_ = hub.Close()
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the server does not stop")
	}
	if n := hub.Clients(); n != 0 || log.Len() > 0 {
		t.Errorf("%d streams are open; log: %s", n, &log)
	}
}
