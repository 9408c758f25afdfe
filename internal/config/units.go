package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written like 512, 64KiB, 4MiB or 1GiB.
type Size uint64

var sizeUnits = [...]struct {
	name  string
	shift uint
}{{"GiB", 30}, {"MiB", 20}, {"KiB", 10}, {"B", 0}}

// String writes s in the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && u.shift > 0 && s&(1<<u.shift-1) == 0 {
			return strconv.FormatUint(uint64(s)>>u.shift, 10) + u.name
		}
	}
	return strconv.FormatUint(uint64(s), 10)
}

// UnmarshalText reads what String writes. Decimal units are refused: KB means
// different things to different people.
func (s *Size) UnmarshalText(b []byte) error {
	text, shift := strings.TrimSpace(string(b)), uint(0)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			text, shift = strings.TrimSpace(rest), u.shift
			break
		}
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > math.MaxUint64>>shift {
		return fmt.Errorf("%q is not a size: write a number of bytes, or one with KiB, MiB or GiB, like 4MiB", cut(string(b)))
	}
	*s = Size(n << shift)
	return nil
}

// Duration is a time.Duration, written like 500ms, 30s, 10m or 24h.
type Duration time.Duration

// String writes d without zero parts: 1h, not 1h0m0s.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// UnmarshalText reads what String writes.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(strings.TrimSpace(string(b)))
	if err != nil {
		return fmt.Errorf("%q is not a duration: write a number and a unit, like 500ms, 30s, 10m or 24h", cut(string(b)))
	}
	*d = Duration(v)
	return nil
}

// cut keeps messages short when a file has long values.
func cut(s string) string {
	if len(s) > 60 {
		return s[:57] + "..."
	}
	return s
}
