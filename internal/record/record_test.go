package record_test

import (
	"testing"

	"github.com/merlon/merlon/internal/record"
)

func TestAddPath(t *testing.T) {
	for _, c := range []struct {
		in     string
		status record.Status
		want   string
	}{
		{"", record.PathOK, "/"},
		{"ls/bin/usr/", record.PathOK, "/usr/bin/ls"},
		{"memfd:x/", record.PathOutside, "memfd:x"},
		{"b/a/", record.PathOutside, "a/b"},
		{"b/a/", record.PathDeep, "…/a/b"},
		{"", record.PathOutside, ""},
		{"/", record.PathOutside, ""},
	} {
		var x record.Texts
		s := x.AddPath([]byte(c.in), c.status)
		x.Seal()
		if got := x.Get(s); got != c.want {
			t.Errorf("%q status %d: %q, want %q", c.in, c.status, got, c.want)
		}
	}
}

func TestViewAndCursor(t *testing.T) {
	type head struct{ A, B uint32 }
	rec := []byte{1, 0, 0, 0, 2, 0, 0, 0, 'a', 'b', 'c'}
	h, rest, err := record.View[head](rec)
	if err != nil || h.A != 1 || h.B != 2 || string(rest) != "abc" {
		t.Fatalf("%+v, %q, %v", h, rest, err)
	}
	c := record.NewCursor(rest)
	if got := c.Take(2); string(got) != "ab" || c.Bad() {
		t.Errorf("first piece %q, bad %v", got, c.Bad())
	}
	if got := c.Take(2); got != nil || !c.Bad() {
		t.Errorf("a piece beyond the end: %q, bad %v", got, c.Bad())
	}
	if _, _, err := record.View[head](rec[:7]); err == nil {
		t.Error("a record shorter than its head: no error")
	}
	if got := record.CString([]int8{'x', 0, 'y'}); string(got) != "x" {
		t.Errorf("C string %q", got)
	}
}
