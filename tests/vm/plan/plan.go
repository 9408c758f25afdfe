// Package plan is what the host and the init of a test machine agree on: the
// plan that init finds in its initramfs, and the marks it writes between the
// output of the programs it runs.
package plan

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// File is where init finds its plan.
const File = "/plan.json"

// Mark starts every mark. 0x16 (SYN) first, as in `go test -v=test2json`:
// it holds in the middle of a line too, where a program ended without a
// newline.
const Mark = "\x16@@@ "

// Plan is what init does after it has mounted what a test needs.
type Plan struct {
	Port    string   `json:"port"`    // device that takes the output of jobs and the marks
	Modules []string `json:"modules"` // paths of the kernel modules, in loading order
	Jobs    []Job    `json:"jobs"`
}

// Job is one program to run, after the one before it has ended.
type Job struct {
	Name    string        `json:"name"`
	Path    string        `json:"path"`
	Dir     string        `json:"dir"` // working directory
	Args    []string      `json:"args"`
	Timeout time.Duration `json:"timeout"` // then it is killed
}

// The stages a mark tells of.
const (
	Boot    = "boot"    // init is ready: Release, Seconds since boot, Text the LSM list
	Begin   = "begin"   // Job starts
	End     = "end"     // Job ended with Exit after Seconds; Text says what killed it
	Problem = "problem" // Text: something init could not do; it went on
	Off     = "off"     // all jobs ran, the machine powers off
)

// Event is one mark.
type Event struct {
	Stage   string  `json:"stage"`
	Job     string  `json:"job,omitempty"`
	Release string  `json:"release,omitempty"`
	Exit    int     `json:"exit,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
	Text    string  `json:"text,omitempty"`
}

// Line is e as init writes it, newline included.
func (e Event) Line() string {
	b, err := json.Marshal(e)
	if err != nil { // an infinite Seconds: nothing else in Event can fail
		b = fmt.Appendf(nil, `{"stage":%q}`, Problem)
	}
	return Mark + string(b) + "\n"
}

// Parse reads one line without its newline; ok is false where it is no mark.
func Parse(line string) (e Event, ok bool) {
	text, found := strings.CutPrefix(line, Mark)
	if !found || json.Unmarshal([]byte(text), &e) != nil {
		return Event{}, false
	}
	return e, true
}
