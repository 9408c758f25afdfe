package api

import (
	"context"

	"github.com/merlon/merlon/internal/event"
)

// maxAlerts is how many alerts wait for one client.
const maxAlerts = 1024

// AlertReader is one client's stream of alerts.
type AlertReader struct {
	hub     *Hub
	waiting []*event.Alert // guarded by hub.mu
	missed  uint64
	wake    chan struct{}
}

// Alert implements contract.Sink.
func (h *Hub) Alert(a *event.Alert) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := range h.alerts {
		if len(r.waiting) >= maxAlerts {
			r.missed++
			continue
		}
		r.waiting = append(r.waiting, a)
		r.signal()
	}
}

// ReadAlerts starts a stream of the alerts to come. The caller closes it.
func (h *Hub) ReadAlerts() (*AlertReader, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, errClosed
	}
	if len(h.readers)+len(h.alerts) >= h.maxClients {
		return nil, errClients
	}
	r := &AlertReader{hub: h, wake: make(chan struct{}, 1)}
	h.alerts[r] = struct{}{}
	return r, nil
}

// Close ends the stream.
func (r *AlertReader) Close() {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	delete(r.hub.alerts, r)
}

func (r *AlertReader) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Next waits for alerts and returns them, and how many the client missed.
func (r *AlertReader) Next(ctx context.Context) (alerts []*event.Alert, missed uint64, err error) {
	for {
		r.hub.mu.Lock()
		alerts, missed = r.waiting, r.missed
		r.waiting, r.missed = nil, 0
		closed := r.hub.closed
		r.hub.mu.Unlock()
		if len(alerts) > 0 || missed > 0 {
			return alerts, missed, nil
		}
		if closed {
			return nil, 0, errClosed
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}
