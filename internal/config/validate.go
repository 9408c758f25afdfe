package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/kinds"
)

// maxRings bounds all rings together, in bytes.
const maxRings Size = 16 << 20

// maxSocketPath is the longest name of a unix socket (unix(7): 108 bytes with
// the final zero).
const maxSocketPath = 107

// Validate checks values against their ranges and each other. The error is an
// Errors with every mistake.
func (c *Config) Validate() error {
	if errs := c.check(); len(errs) > 0 {
		return errs
	}
	return nil
}

func (c *Config) check() Errors {
	var errs Errors
	bad := func(key, format string, args ...any) {
		errs = append(errs, &Error{Key: key, Msg: fmt.Sprintf(format, args...)})
	}
	c.walk(func(f field, _ int) {
		if f.section() {
			return
		}
		if msg := f.check(); msg != "" {
			bad(f.path, "%s", msg)
		}
	})
	if sum := c.Rings.Critical + c.Rings.Bulk; sum > maxRings && c.Rings.Critical <= maxRings && c.Rings.Bulk <= maxRings {
		bad("rings.bulk", "rings.critical and rings.bulk together are %s, the limit is %s", sum, maxRings)
	}
	for key, path := range map[string]string{"state_dir": c.StateDir, "socket": c.Socket, "kernel.pin_dir": c.Kernel.PinDir} {
		if !filepath.IsAbs(path) {
			bad(key, "wants an absolute path, found %q", cut(path))
		}
	}
	if len(c.Socket) > maxSocketPath {
		bad("socket", "the path has %d bytes; a unix socket's name holds at most %d", len(c.Socket), maxSocketPath)
	}
	if msg := checkLoopback(c.Metrics.Listen); msg != "" {
		bad("metrics.listen", "%s", msg)
	}
	if _, err := kinds.Expand(c.Events.Kinds); err != nil {
		bad("events.kinds", "%v", err)
	}
	for _, path := range c.Events.ReadPaths {
		if !filepath.IsAbs(path) || filepath.Clean(path) != strings.TrimSuffix(path, "/") && path != "/" {
			bad("events.read_paths", "wants absolute paths without . and .. parts, found %q", cut(event.Safe(path)))
		}
	}
	return errs
}

// Reported returns the kinds that events.kinds means. The Config must be
// valid.
func (e *Events) Reported() []event.Kind {
	list, _ := kinds.Expand(e.Kinds) // validated
	return list
}

// check tests one value against its range and oneof tags.
func (f field) check() string {
	if of := f.tag.Get("oneof"); of != "" {
		for _, v := range strings.Fields(of) {
			if v == f.value.String() {
				return ""
			}
		}
		return fmt.Sprintf("%q is not one of %s", cut(f.value.String()), strings.Join(strings.Fields(of), ", "))
	}
	lo, hi, ok := strings.Cut(f.tag.Get("range"), " ")
	if !ok {
		return ""
	}
	v, low, high := number(f.value), parseAs(f.value, lo), parseAs(f.value, hi)
	if v < low || v > high {
		return fmt.Sprintf("%v is out of range: %s to %s", f.value.Interface(), lo, hi)
	}
	if f.tag.Get("pow2") != "" && (v <= 0 || v&(v-1) != 0) {
		return fmt.Sprintf("%v is not a power of two", f.value.Interface())
	}
	return ""
}

func number(v reflect.Value) int64 {
	if v.CanUint() {
		return int64(min(v.Uint(), 1<<62))
	}
	return v.Int()
}

// parseAs reads a bound of a range tag in the type of the field.
func parseAs(like reflect.Value, text string) int64 {
	switch like.Interface().(type) {
	case Size:
		var s Size
		if s.UnmarshalText([]byte(text)) == nil {
			return int64(s)
		}
	case Duration:
		var d Duration
		if d.UnmarshalText([]byte(text)) == nil {
			return int64(d)
		}
	}
	n, _ := strconv.ParseInt(text, 10, 64) // the tags are tested
	return n
}

// checkLoopback refuses every address that another host could reach: metrics
// tell what runs here, and carry no authentication.
func checkLoopback(listen string) string {
	if listen == "" {
		return ""
	}
	ap, err := netip.ParseAddrPort(strings.Replace(listen, "localhost:", "127.0.0.1:", 1))
	switch {
	case err != nil:
		return fmt.Sprintf("%q is not an address and port: write one like 127.0.0.1:9464 or [::1]:9464", cut(listen))
	case !ap.Addr().IsLoopback():
		return fmt.Sprintf("%s can be reached from other hosts; only loopback addresses are allowed, like 127.0.0.1:%d", ap.Addr(), ap.Port())
	}
	return ""
}
