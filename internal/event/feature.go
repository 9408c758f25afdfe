package event

// Guarantee says what Merlon promises about an act on this kernel.
type Guarantee string

// The guarantees, from strongest to weakest.
const (
	Prevent Guarantee = "prevent" // the act has no effect
	React   Guarantee = "react"   // its actor is stopped, or its effect cut, just after
	Observe Guarantee = "observe" // it is only reported
	Absent  Guarantee = "absent"  // nothing on this kernel does it
)

// Feature is something Merlon can do, with the tier that does it on this
// kernel. It is what check prints.
type Feature struct {
	Name      string    `json:"name"`            // "see exec"
	Group     string    `json:"group"`           // "processes": rows are grouped by it
	Tier      string    `json:"tier"`            // mechanism that passed its canary; empty when none did
	Guarantee Guarantee `json:"guarantee"`       // what that tier promises
	Kinds     []Kind    `json:"kinds,omitempty"` // the kinds of events that it reports or completes
	Essential bool      `json:"essential"`       // without it the agent can't run
	Why       string    `json:"why,omitempty"`   // why nothing better: the cause at the first better tier
	Cure      string    `json:"cure,omitempty"`  // what the administrator can do about it
	Tried     []Attempt `json:"tried,omitempty"` // every tier tried, best first
}

// Attempt is the result of trying one tier.
type Attempt struct {
	Tier  string `json:"tier"`
	OK    bool   `json:"ok"`
	Stage string `json:"stage,omitempty"` // load, attach or canary: where it failed
	Cause string `json:"cause,omitempty"`
	Cure  string `json:"cure,omitempty"`
}
