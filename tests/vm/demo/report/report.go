// Package report is what the attacks inside the demo's machine tell the
// command outside: one line of JSON for each Record, after Mark.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/merlon/merlon/internal/event"
)

// Mark starts the line of a record.
const Mark = "MERLON-DEMO "

// The stages of the demo.
const (
	Ready  = "ready"  // the agent answers: Lines is what it printed until then
	Attack = "attack" // one attack was made
	Failed = "failed" // the demo can't go on: Problem and, in Lines, the agent's last words
	Done   = "done"   // all attacks were made; Lines is the agent's status
)

// Record is one step of the demo.
type Record struct {
	Stage   string        `json:"stage"`
	Lines   []string      `json:"lines,omitempty"`
	Problem string        `json:"problem,omitempty"`
	Rule    string        `json:"rule,omitempty"`  // the rule that should match; empty: none
	Title   string        `json:"title,omitempty"` // the attack's name
	Did     string        `json:"did,omitempty"`   // what really happened
	Alerts  []event.Alert `json:"alerts,omitempty"`
}

// Seen returns the alert of the rule that the attack should raise.
func (r *Record) Seen() *event.Alert {
	for i := range r.Alerts {
		if r.Alerts[i].Rule.ID == r.Rule {
			return &r.Alerts[i]
		}
	}
	return nil
}

// OK reports whether the agent did what it should: an alert of the rule, or
// silence where there is none.
func (r *Record) OK() bool {
	if r.Rule == "" {
		return r.Problem == "" && len(r.Alerts) == 0
	}
	return r.Seen() != nil
}

// Write sends a record.
func Write(w io.Writer, r Record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s%s\n", Mark, b)
	return err
}

// Parse reads a line; ok is false where it is no record.
func Parse(line string) (r Record, ok bool) {
	text, found := strings.CutPrefix(line, Mark)
	if !found || json.Unmarshal([]byte(text), &r) != nil {
		return Record{}, false
	}
	return r, true
}
