package plan

import (
	"math"
	"strings"
	"testing"
)

func TestMarkRoundTrip(t *testing.T) {
	for _, want := range []Event{
		{Stage: Boot, Release: "6.1.0", Seconds: 3.5, Text: "capability,bpf"},
		{Stage: End, Job: "internal/kernel", Exit: 2, Text: "signal: killed\nafter \x16"},
	} {
		line := want.Line()
		if strings.Count(line, "\n") != 1 {
			t.Errorf("%q holds more than its own newline", line)
		}
		if got, ok := Parse(strings.TrimSuffix(line, "\n")); !ok || got != want {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", line, got, ok, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, line := range []string{"", "=== RUN", Mark, Mark + "{", "@@@ {}", " " + Mark + "{}"} {
		if e, ok := Parse(line); ok {
			t.Errorf("Parse(%q) = %+v, want nothing", line, e)
		}
	}
}

func TestLineOfNaN(t *testing.T) {
	line := Event{Stage: End, Seconds: math.NaN()}.Line()
	if e, ok := Parse(strings.TrimSuffix(line, "\n")); !ok || e.Stage != Problem {
		t.Errorf("a mark that JSON can't hold reads as %+v, %v; want a problem", e, ok)
	}
}
