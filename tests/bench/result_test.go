package main

import (
	"strings"
	"testing"
)

func TestMarkdown(t *testing.T) {
	r := &report{Machine: machine{Kernel: "Linux 6.12", CPUs: 2}, Results: []result{
		result{Name: "x", Value: 1.07, Unit: "× without", Detail: &estimate{1.07, 1.01, 1.1, 31}}.atMost(1.05),
		result{Name: "y", Value: 412_345.6, Unit: "events/s"}.atLeast(400_000),
	}}
	page := "# P\n" + docBegin + "old\n" + docEnd + "after\n"
	for range 2 { // the second time replaces the first
		var err error
		if page, err = r.markdown(page); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"# P\n", "| x | 1.07 × without | ≤ 1.05 | MISSED | 1.01 to 1.10 (n=31) |", "| y | 412346 events/s | ≥ 400000 | met |", "after\n"} {
		if strings.Count(page, want) != 1 {
			t.Errorf("%q is not there once:\n%s", want, page)
		}
	}
	if strings.Contains(page, "old") {
		t.Error("the old results are still there")
	}
	if _, err := r.markdown("# P\n"); err == nil {
		t.Error("a page without marks was taken")
	}
}

func TestTargets(t *testing.T) {
	for _, c := range []struct {
		r      result
		target string
		met    bool
	}{
		{result{Value: 1.05}.atMost(1.05), "≤ 1.05", true},
		{result{Value: 1.06}.atMost(1.05), "≤ 1.05", false},
		{result{Value: 400_000}.atLeast(400_000), "≥ 400000", true},
		{result{Value: 399_999}.atLeast(400_000), "≥ 400000", false},
	} {
		if c.r.Target != c.target || *c.r.Met != c.met {
			t.Errorf("%v: %s, %v", c.r.Value, c.r.Target, *c.r.Met)
		}
	}
}
