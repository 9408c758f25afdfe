package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/merlon/merlon/internal/event"
)

// FactMark starts a fact in a test's output; JSON of a Fact follows.
const FactMark = "MERLON-FACT "

// VerifierLimit is how many instructions the kernel's verifier walks before
// it gives up (BPF_COMPLEXITY_LIMIT_INSNS in include/linux/bpf.h);
// VerifierBudget is how many we allow a program.
const (
	VerifierLimit  = 1_000_000
	VerifierBudget = VerifierLimit * 8 / 10
)

// The types of facts.
const (
	FactFeature = "feature"
	FactInsns   = "insns"
)

// Fact is something a test learnt about the kernel it ran on.
type Fact struct {
	Type string `json:"type"`

	// Of a feature: what `merlon check` prints.
	Name      string          `json:"name,omitempty"`
	Group     string          `json:"group,omitempty"`
	Tier      string          `json:"tier,omitempty"`
	Guarantee event.Guarantee `json:"guarantee,omitempty"`
	Why       string          `json:"why,omitempty"`

	// Of a program: how many instructions the verifier walked.
	Program string `json:"program,omitempty"`
	Count   uint64 `json:"count,omitempty"`
}

// parseFact reads the fact in a line of output, after what t.Log puts before
// it.
func parseFact(line string) (Fact, error) {
	_, text, _ := strings.Cut(line, FactMark)
	var f Fact
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return Fact{}, fmt.Errorf("read fact %q: %w", text, err)
	}
	if f.Type == FactFeature && f.Name != "" || f.Type == FactInsns && f.Program != "" {
		return f, nil
	}
	return Fact{}, fmt.Errorf("read fact %q: neither a feature with a name nor insns with a program", text)
}

// parseCheck reads what `merlon check --json` printed: the features.
func parseCheck(output []string) ([]Fact, error) {
	var check struct {
		Features []event.Feature `json:"features"`
	}
	if err := json.Unmarshal([]byte(strings.Join(output, "\n")), &check); err != nil {
		return nil, fmt.Errorf("read merlon check: %w", err)
	}
	if len(check.Features) == 0 {
		return nil, errors.New("read merlon check: no features")
	}
	var facts []Fact
	for _, f := range check.Features {
		facts = append(facts, Fact{Type: FactFeature, Name: f.Name, Group: f.Group, Tier: f.Tier, Guarantee: f.Guarantee, Why: f.Why})
	}
	return facts, nil
}

// Facts is what the tests learnt about one kernel, in its file of the results
// folder.
type Facts struct {
	Kernel   string            `json:"kernel"`
	Release  string            `json:"release"`
	LSM      string            `json:"lsm"`
	Packages map[string][]Fact `json:"packages"`
}

// All lists the facts of every package, without repetitions, the later ones
// winning, in a fixed order.
func (f *Facts) All() []Fact {
	names := make([]string, 0, len(f.Packages))
	for n := range f.Packages {
		names = append(names, n)
	}
	slices.Sort(names)
	var all []Fact
	at := map[string]int{}
	for _, n := range names {
		for _, fact := range f.Packages[n] {
			key := fact.Type + "\x00" + fact.Group + "\x00" + fact.Name + "\x00" + fact.Program
			if i, ok := at[key]; ok {
				all[i] = fact
				continue
			}
			at[key] = len(all)
			all = append(all, fact)
		}
	}
	return all
}

func resultsDir() (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "results")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the results folder: %w", err)
	}
	return dir, nil
}

// SaveFacts keeps the facts of a run: those of packages that ran replace what
// was known of them, where the kernel is still the same.
func SaveFacts(k Kernel, r *Results) error {
	dir, err := resultsDir()
	if err != nil {
		return err
	}
	name := filepath.Join(dir, k.Name+".json")
	var known Facts
	if err := readJSON(name, &known); err != nil || known.Release != r.Release || known.LSM != r.LSM {
		known = Facts{Kernel: k.Name, Release: r.Release, LSM: r.LSM}
	}
	if known.Packages == nil {
		known.Packages = map[string][]Fact{}
	}
	for _, p := range r.Packages {
		if facts := r.Facts[p.Name]; len(facts) > 0 {
			known.Packages[p.Name] = facts
		} else {
			delete(known.Packages, p.Name)
		}
	}
	return writeJSON(name, known)
}

// LoadFacts returns what is known of the kernels of the matrix, in its order;
// a kernel that never ran has no Release.
func LoadFacts() ([]Facts, error) {
	dir, err := resultsDir()
	if err != nil {
		return nil, err
	}
	var all []Facts
	for _, k := range Kernels() {
		f := Facts{Kernel: k.Name}
		if err := readJSON(filepath.Join(dir, k.Name+".json"), &f); err != nil && !os.IsNotExist(err) {
			return nil, fmt.Errorf("load facts: %w", err)
		}
		all = append(all, f)
	}
	return all, nil
}
