package event

import "time"

// Severity grades findings and alerts.
type Severity string

// The severities, from least to most.
const (
	SeverityLow      Severity = "low"
	SeverityMedium   Severity = "medium"
	SeverityHigh     Severity = "high"
	SeverityCritical Severity = "critical"
)

// Rank orders severities: 1 for low to 4 for critical, 0 for an unknown one.
func (s Severity) Rank() int {
	switch s {
	case SeverityLow:
		return 1
	case SeverityMedium:
		return 2
	case SeverityHigh:
		return 3
	case SeverityCritical:
		return 4
	}
	return 0
}

// Rule describes what a detector looks for.
type Rule struct {
	ID       string   `json:"id" doc:"stable identifier" source:"merlon"`
	Title    string   `json:"title" doc:"one line for a person" source:"merlon"`
	Severity Severity `json:"severity" doc:"low, medium, high or critical" source:"merlon"`
	Attack   []string `json:"attack,omitempty" doc:"MITRE ATT&CK technique ids" source:"merlon"`
}

// Evidence is one field that made a rule match.
type Evidence struct {
	Field  string `json:"field" doc:"name of the field, as in events" source:"merlon"`
	Value  Text   `json:"value" doc:"its value" source:"merlon"`
	Source string `json:"source" doc:"kernel, user (the process could have written it) or merlon" source:"merlon"`
}

// Finding is one rule's match, with its evidence.
type Finding struct {
	Rule     Rule       `json:"rule"`
	Time     time.Time  `json:"time"`
	Reason   string     `json:"reason"` // one sentence; holds no raw bytes of the process (use Safe)
	Evidence []Evidence `json:"evidence"`
	Event    *Event     `json:"event"` // read-only, already cloned
}

// UserMemory reports whether the finding rests on memory that the process
// itself could have changed.
func (f *Finding) UserMemory() bool {
	for _, e := range f.Evidence {
		if e.Source == "user" {
			return true
		}
	}
	return false
}

// Alert is a group of findings of one rule about one process tree and object,
// made for a person.
type Alert struct {
	ID         string     `json:"id" doc:"unique identifier" source:"merlon"`
	Rule       Rule       `json:"rule" doc:"the rule" source:"merlon"`
	Reason     string     `json:"reason" doc:"what happened, in one sentence" source:"merlon"`
	First      time.Time  `json:"first" doc:"time of the first finding" source:"merlon"`
	Last       time.Time  `json:"last" doc:"time of the last finding" source:"merlon"`
	Count      uint64     `json:"count" doc:"number of findings" source:"merlon"`
	Evidence   []Evidence `json:"evidence" doc:"the fields that matched, of the first finding" source:"merlon"`
	UserMemory bool       `json:"user_memory,omitempty" doc:"the evidence includes memory that the process could have changed" source:"merlon"`
	Process    *Process   `json:"process,omitempty" doc:"the process of the first finding" source:"merlon"`
	Event      *Event     `json:"event,omitempty" doc:"the event of the first finding" source:"merlon"`
}
