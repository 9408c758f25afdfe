// Package client asks a running agent through its unix socket.
package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/merlon/merlon/internal/api"
	"github.com/merlon/merlon/internal/event"
)

// maxLine bounds one line of a stream: 128 KiB of arguments, every byte of
// them escaped, fit several times.
const maxLine = 8 << 20

// Error is a refusal or failure, with what to do about it.
type Error struct {
	Msg, Cure string
	Err       error
}

// Error returns the message; the cure is the caller's to show.
func (e *Error) Error() string { return e.Msg }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Client asks one agent. Any goroutine may use it.
type Client struct {
	socket string
	http   *http.Client
}

// New makes a client for the agent behind socket. Nothing is opened before
// the first request.
func New(socket string) *Client {
	var d net.Dialer
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", socket)
		},
		DisableCompression: true, MaxIdleConns: 1, IdleConnTimeout: time.Minute,
	}}}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) do(ctx context.Context, method, path string, q url.Values, body io.Reader) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: "merlon", Path: path, RawQuery: q.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var p api.Problem
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&p); err != nil || p.Message == "" {
		p.Message = "the agent answered " + resp.Status
	}
	return nil, &Error{Msg: event.Safe(p.Message), Cure: event.Safe(p.Cure)}
}

func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return &Error{"no agent answers at " + c.socket, "start one with `sudo merlon run`, or name the socket of the one that runs with --socket", err}
	case errors.Is(err, fs.ErrPermission):
		return &Error{"you may not open " + c.socket, "use sudo, or have socket_group, api.read_uids or api.read_gids name you in the agent's configuration", err}
	}
	return &Error{"ask the agent at " + c.socket + ": " + err.Error(), "look at the agent's log", err}
}

func (c *Client) get(ctx context.Context, path string, q url.Values, into any) error {
	resp, err := c.do(ctx, http.MethodGet, path, q, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("read answer of %s: %w", path, err)
	}
	return nil
}

// Status asks how the agent is; with a cost above zero it measures for that
// long what the BPF programs cost.
func (c *Client) Status(ctx context.Context, cost time.Duration) (*api.Status, error) {
	q := url.Values{}
	if cost > 0 {
		q.Set("cost", cost.String())
	}
	var st api.Status
	if err := c.get(ctx, api.PathStatus, q, &st); err != nil {
		return nil, err
	}
	return &st, nil
}

// Check returns the features as the agent found them at its start.
func (c *Client) Check(ctx context.Context) ([]event.Feature, error) {
	var list []event.Feature
	err := c.get(ctx, api.PathCheck, nil, &list)
	return list, err
}

// Text returns the answer of a path that gives text: the configuration, the
// metrics.
func (c *Client) Text(ctx context.Context, path string) (string, error) {
	resp, err := c.do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxLine))
	if err != nil {
		return "", fmt.Errorf("read answer of %s: %w", path, err)
	}
	return string(b), nil
}

// LogLevel returns the level of the agent's log.
func (c *Client) LogLevel(ctx context.Context) (string, error) {
	var l api.LogLevel
	err := c.get(ctx, api.PathLogLevel, nil, &l)
	return l.Level, err
}

// SetLogLevel changes the level of the agent's log.
func (c *Client) SetLogLevel(ctx context.Context, level string) error {
	body, err := json.Marshal(api.LogLevel{Level: level})
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	resp, err := c.do(ctx, http.MethodPut, api.PathLogLevel, nil, bytes.NewReader(body))
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Query says what a stream should hold.
type Query struct {
	Kinds  []string // names, or patterns like file_*
	Paths  []string // files whose reads are asked for
	Filter string
	Last   int // how many of the past; -1 for all
	Follow bool
	// Started, when not nil, is called when the agent begins to answer: what
	// a follower asked for is attached then.
	Started func()
}

func (q Query) values() url.Values {
	v := url.Values{}
	for _, k := range q.Kinds {
		v.Add("kind", k)
	}
	for _, p := range q.Paths {
		v.Add("path", p)
	}
	if q.Filter != "" {
		v.Set("filter", q.Filter)
	}
	if q.Last >= 0 {
		v.Set("last", strconv.Itoa(q.Last))
	}
	if q.Follow {
		v.Set("follow", "1")
	}
	return v
}

// Events calls yield for every line of the stream of events. line is the JSON
// as the agent sent it, valid during the call. It returns when the stream
// ends, with yield's error, or with nil once ctx is done.
func (c *Client) Events(ctx context.Context, q Query, yield func(line []byte) error) error {
	return c.lines(ctx, api.PathEvents, q.values(), q.Started, yield)
}

// Alerts does the same for alerts.
func (c *Client) Alerts(ctx context.Context, q Query, yield func(line []byte) error) error {
	return c.lines(ctx, api.PathAlerts, q.values(), q.Started, yield)
}

// Processes calls yield for every live process.
func (c *Client) Processes(ctx context.Context, yield func(line []byte) error) error {
	return c.lines(ctx, api.PathProcesses, nil, nil, yield)
}

func (c *Client) lines(ctx context.Context, path string, q url.Values, started func(), yield func([]byte) error) error {
	resp, err := c.do(ctx, http.MethodGet, path, q, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if started != nil {
		started()
	}
	sc := bufio.NewScanner(resp.Body)
	sc.Buffer(make([]byte, 64<<10), maxLine)
	for sc.Scan() {
		if len(sc.Bytes()) == 0 {
			continue
		}
		if err := yield(sc.Bytes()); err != nil {
			return err
		}
	}
	if err := sc.Err(); err != nil && ctx.Err() == nil {
		return &Error{"the agent went away in the middle of a line", "look at the agent's log", err}
	}
	return nil
}

// DecodeEvent reads one line of the event stream. A line that tells of a
// problem instead of an event is returned as an *Error.
func DecodeEvent(line []byte) (*event.Event, error) {
	var v struct {
		event.Event
		api.Problem
	}
	if err := json.Unmarshal(line, &v); err != nil {
		return nil, fmt.Errorf("read event: %w", err)
	}
	if v.Message != "" && v.Kind == "" {
		return nil, &Error{Msg: event.Safe(v.Message), Cure: event.Safe(v.Cure)}
	}
	return &v.Event, nil
}

// DecodeAlert reads one line of the alert stream: an alert, or a loss event
// that tells of alerts missed.
func DecodeAlert(line []byte) (*event.Alert, *event.Loss, error) {
	var v struct {
		event.Alert
		Loss *event.Loss `json:"loss"`
	}
	if err := json.Unmarshal(line, &v); err != nil {
		return nil, nil, fmt.Errorf("read alert: %w", err)
	}
	if v.Loss != nil {
		return nil, v.Loss, nil
	}
	return &v.Alert, nil, nil
}

// DecodeProcess reads one line of the processes.
func DecodeProcess(line []byte) (*event.Process, error) {
	var p event.Process
	if err := json.Unmarshal(line, &p); err != nil {
		return nil, fmt.Errorf("read process: %w", err)
	}
	return &p, nil
}

// Missing reports whether err says that no agent answers.
func Missing(err error) bool {
	var e *Error
	return errors.As(err, &e) && strings.HasPrefix(e.Msg, "no agent")
}
