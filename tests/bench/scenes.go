package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
	"github.com/merlon/merlon/internal/sensors/file"
	"github.com/merlon/merlon/internal/sensors/network"
)

// Streams of what running processes do.
const (
	fileActs stream = "files"       // a file made, closed after writing, removed
	netActs  stream = "connections" // a connection made, accepted, ended
)

// scenes are the acts whose records make these streams. A record has the same
// form whatever mechanism of the sensor made it; on a kernel where that is
// fanotify, it goes through the rings here all the same.
func scenes() map[stream]scene {
	always := func(event.Kind) bool { return true }
	return map[stream]scene{
		fileActs: {
			kinds: []event.Kind{event.KindFileCreate, event.KindFileClose, event.KindFileDelete},
			sensor: func(k *kernel.Kernel, log *slog.Logger) contract.Sensor {
				return file.New(k, file.Options{Log: log, Own: true})
			},
			decoder: func() contract.Decoder { return file.NewDecoder() },
			perform: writeFile,
			mine: func(ev *event.Event) bool {
				return ev.File != nil && filepath.IsAbs(string(ev.File.Path)) && filepath.Base(string(ev.File.Path)) == sceneFile
			},
			bulk: always,
		},
		netActs: {
			kinds: []event.Kind{event.KindNetConnect, event.KindNetAccept, event.KindNetClose},
			sensor: func(k *kernel.Kernel, log *slog.Logger) contract.Sensor {
				return network.New(k, network.Options{Log: log})
			},
			decoder: func() contract.Decoder { return network.NewDecoder() },
			perform: connect,
			mine:    func(ev *event.Event) bool { return ev.Net != nil && ev.Net.Protocol == "tcp" },
			bulk:    always,
		},
	}
}

const sceneFile = "merlon-bench-file"

// writeFile makes a file, writes it and removes it.
func writeFile(context.Context) (_ uint32, err error) {
	dir, err := os.MkdirTemp("", "merlon-bench-")
	if err != nil {
		return 0, fmt.Errorf("write file: %w", err)
	}
	defer func() {
		time.Sleep(200 * time.Millisecond) // fanotify's names are resolved afterwards
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	path := filepath.Join(dir, sceneFile)
	if err := os.WriteFile(path, []byte("hello\n"), 0o600); err != nil {
		return 0, fmt.Errorf("write file: %w", err)
	}
	return uint32(os.Getpid()), os.Remove(path)
}

// connect makes one TCP connection to itself.
func connect(ctx context.Context) (uint32, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("connect: %w", err)
	}
	accepted := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = c.Close()
		}
		accepted <- err
	}()
	c, err := new(net.Dialer).DialContext(ctx, "tcp4", l.Addr().String())
	if err != nil {
		return 0, errors.Join(fmt.Errorf("connect: %w", err), l.Close(), <-accepted)
	}
	return uint32(os.Getpid()), errors.Join(<-accepted, c.Close(), l.Close())
}
