package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// result is one number and what it is measured against.
type result struct {
	Name    string    `json:"name"`
	Value   float64   `json:"value"`
	Unit    string    `json:"unit"`
	Target  string    `json:"target,omitempty"`
	Met     *bool     `json:"met,omitempty"` // nil: no target
	Detail  *estimate `json:"detail,omitempty"`
	Control *estimate `json:"control,omitempty"` // the same work against itself, interleaved
	Note    string    `json:"note,omitempty"`
}

// atMost and atLeast set the target and whether the value meets it.
func (r result) atMost(limit float64) result {
	met := r.Value <= limit
	r.Target, r.Met = fmt.Sprintf("≤ %s", number(limit)), &met
	return r
}

func (r result) atLeast(limit float64) result {
	met := r.Value >= limit
	r.Target, r.Met = fmt.Sprintf("≥ %s", number(limit)), &met
	return r
}

func number(v float64) string {
	switch {
	case v == math.Trunc(v) || math.Abs(v) >= 1000:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) < 0.1:
		return fmt.Sprintf("%.3f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// report is all of one run.
type report struct {
	Machine machine  `json:"machine"`
	Results []result `json:"results"`
	Failed  []string `json:"failed,omitempty"` // stages that could not be measured, and why
}

// machine says where the numbers come from.
type machine struct {
	Kernel string `json:"kernel"`
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Go     string `json:"go"`
	Load   string `json:"load_average"` // before the run: other work makes every number worse
}

func (r *report) table(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "\n%s, %d × %s, %s, load before %s\n\n",
		r.Machine.Kernel, r.Machine.CPUs, r.Machine.CPU, r.Machine.Go, r.Machine.Load); err != nil {
		return fmt.Errorf("print results: %w", err)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "what\tmeasured\ttarget\t\t95% interval\tA/A control\tnote")
	for i := range r.Results {
		fmt.Fprintln(tw, strings.Join(r.Results[i].row(), "\t"))
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("print results: %w", err)
	}
	for _, f := range r.Failed {
		fmt.Fprintln(w, "NOT MEASURED:", f)
	}
	return nil
}

// row is what a line of a table shows of r.
func (r *result) row() []string {
	met, interval, control := "", "", ""
	if r.Met != nil {
		met = map[bool]string{true: "met", false: "MISSED"}[*r.Met]
	}
	if e := r.Detail; e != nil {
		interval = fmt.Sprintf("%s to %s (n=%d)", number(e.Low), number(e.High), e.N)
	}
	if e := r.Control; e != nil {
		control = fmt.Sprintf("%s (%s to %s)", number(e.Median), number(e.Low), number(e.High))
	}
	return []string{r.Name, number(r.Value) + " " + r.Unit, r.Target, met, interval, control, r.Note}
}

// The marks in docs/performance.md between which the results stand.
const (
	docBegin = "<!-- results: make bench BENCH=\"-doc docs/performance.md\" -->\n"
	docEnd   = "<!-- end of results -->\n"
)

// markdown puts the results into a page, in place of the ones there.
func (r *report) markdown(page string) (string, error) {
	head, rest, ok := strings.Cut(page, docBegin)
	_, tail, closed := strings.Cut(rest, docEnd)
	if !ok || !closed {
		return "", errors.New("write results: the page has no marks for them")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d × %s, %s; load average before the run %s.\n\n", r.Machine.Kernel, r.Machine.CPUs, r.Machine.CPU, r.Machine.Go, r.Machine.Load)
	b.WriteString("| what | measured | target | | 95% interval | A/A control | note |\n|---|---|---|---|---|---|---|\n")
	for i := range r.Results {
		b.WriteString("| " + strings.Join(r.Results[i].row(), " | ") + " |\n")
	}
	for _, f := range r.Failed {
		b.WriteString("\nNot measured: " + f + "\n")
	}
	return head + docBegin + b.String() + docEnd + tail, nil
}

func (r *report) json(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}
