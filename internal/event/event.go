// Package event holds Merlon's nouns: what the sensors report (Event and its
// parts), what the detectors think of it (Finding) and what a person reads
// (Alert).
//
// Every field carries its JSON name, which is its CEL name too, in the json
// tag; doc says what it is; source says where a value comes from: "kernel"
// (a kernel copy), "user" (memory that the process itself could write) or
// "merlon" (worked out by us). The field reference in docs/ is generated from
// these tags.
package event

import "time"

// Kind names what an event reports.
type Kind string

// The kinds of events. Fork, Exec and Exit come from the kernel's own
// tracepoints; Task describes a process that was already there; Cgroup tells
// of a control group made or removed; Loss tells that events are missing.
const (
	KindFork   Kind = "fork"
	KindExec   Kind = "exec"
	KindExit   Kind = "exit"
	KindTask   Kind = "task"
	KindCgroup Kind = "cgroup"
	KindLoss   Kind = "loss"
)

// Kinds lists every kind, in the order of the reference.
func Kinds() []Kind {
	return []Kind{KindFork, KindExec, KindExit, KindTask, KindCgroup, KindLoss}
}

// Event is one fact that was reported, never an opinion. Sensors decode into
// it, enrichers complete it; from then on it is read-only. Exactly one of the
// parts named like its Kind is set.
//
// The pipeline reuses the Event itself (not what its pointers lead to): who
// keeps one beyond the call that received it takes a Clone.
type Event struct {
	Time    time.Time `json:"time" doc:"wall-clock time of the act" source:"kernel"`
	Boot    uint64    `json:"boot_ns" doc:"the same instant in nanoseconds since boot, suspend included" source:"kernel"`
	Kind    Kind      `json:"kind" doc:"what the event reports" source:"merlon"`
	CPU     uint32    `json:"cpu" doc:"the CPU the act ran on" source:"kernel"`
	Process *Process  `json:"process,omitempty" doc:"the process that acted; for fork the new process" source:"kernel"`
	Fork    *Fork     `json:"fork,omitempty" doc:"what a fork event adds" source:"kernel"`
	Exec    *Exec     `json:"exec,omitempty" doc:"what an exec event adds" source:"kernel"`
	Exit    *Exit     `json:"exit,omitempty" doc:"what an exit event adds" source:"kernel"`
	Cgroup  *Cgroup   `json:"cgroup,omitempty" doc:"what a cgroup event tells" source:"kernel"`
	Loss    *Loss     `json:"loss,omitempty" doc:"what a loss event counts" source:"merlon"`

	// Was is the acting process as Merlon knew it before this event (for fork
	// the creator, before what the event tells of it); nil when it was
	// unknown. The process tree sets it; detectors compare.
	Was *Process `json:"-"`
}

// Clone returns a copy that outlives the pipeline's reuse of e.
func (e *Event) Clone() *Event {
	c := *e
	return &c
}

// Reset empties e for its next use.
func (e *Event) Reset() { *e = Event{} }
