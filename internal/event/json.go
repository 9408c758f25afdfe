package event

import "encoding/json"

// Ref is the short form of a process in which events show ancestors.
type Ref struct {
	PID   uint32 `json:"pid"`
	Start uint64 `json:"start_ns"`
	Exe   Text   `json:"exe,omitempty"`
	Comm  Text   `json:"comm,omitempty"`
	EUID  uint32 `json:"euid"`
	Cut   bool   `json:"ancestors_cut,omitempty"`
}

type plainProcess Process

type jsonProcess struct {
	*plainProcess
	Parent    *Ref  `json:"parent,omitempty"`
	Ancestors []Ref `json:"ancestors,omitempty"`
}

func (p *Process) ref() Ref {
	return Ref{PID: p.PID, Start: p.Start, Exe: p.Exe, Comm: p.Comm, EUID: p.Creds.EUID, Cut: p.Cut}
}

// MarshalJSON writes p with its parent and the ancestors above it in short
// form, nearest first.
func (p *Process) MarshalJSON() ([]byte, error) {
	j := jsonProcess{plainProcess: (*plainProcess)(p)}
	for a := range p.Ancestors {
		r := a.ref()
		if j.Parent == nil {
			j.Parent = &r
		} else {
			j.Ancestors = append(j.Ancestors, r)
		}
	}
	return json.Marshal(j)
}

// UnmarshalJSON restores what MarshalJSON wrote; ancestors come back with the
// fields of their short form.
func (p *Process) UnmarshalJSON(b []byte) error {
	j := jsonProcess{plainProcess: (*plainProcess)(p)}
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	if j.Parent == nil {
		return nil
	}
	var above *Process
	for i := len(j.Ancestors) - 1; i >= 0; i-- {
		above = j.Ancestors[i].process(above)
	}
	cut := p.Cut
	p.SetParent(j.Parent.process(above))
	p.Cut = cut
	return nil
}

func (r Ref) process(parent *Process) *Process {
	p := &Process{PID: r.PID, Start: r.Start, Exe: r.Exe, Comm: r.Comm, Creds: Creds{EUID: r.EUID}}
	p.SetParent(parent)
	p.Cut = r.Cut
	return p
}
