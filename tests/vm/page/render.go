package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/merlon/merlon/tests/vm"
)

const head = `# What Merlon does on which kernel

Written by ` + "`go run ./tests/vm/page`" + ` from a run of the VM matrix (` + "`go test ./tests/vm`" + `): do not edit.
Each cell is what attached and passed its canary on that kernel, never what a version number promises.
` + "`merlon check`" + ` prints the same for the machine it runs on.

**prevent**: the act has no effect. **react**: its actor is stopped, or its effect cut, just after.
**observe**: it is only reported. **–**: nothing on this kernel does it.
Outside of the group *processes* the rows say what the kernel lets Merlon do; README.md says what of it Merlon does yet.
`

// Render is the page: one column for each kernel of the matrix that has facts,
// amd64 first.
func Render(kernels []vm.Kernel, facts []vm.Facts) string {
	p := &page{columns: columns(kernels, facts)}
	p.b.WriteString(head)
	p.kernels()
	p.features()
	p.insns()
	return p.b.String()
}

type column struct {
	kernel   vm.Kernel
	facts    vm.Facts
	features map[string]vm.Fact // by group, NUL, name
	insns    map[string]uint64  // by program
}

type page struct {
	b       strings.Builder
	columns []column
}

func columns(kernels []vm.Kernel, facts []vm.Facts) []column {
	var all []column
	for _, f := range facts {
		i := slices.IndexFunc(kernels, func(k vm.Kernel) bool { return k.Name == f.Kernel })
		if i < 0 {
			continue
		}
		c := column{kernel: kernels[i], facts: f, features: map[string]vm.Fact{}, insns: map[string]uint64{}}
		for _, fact := range f.All() {
			if fact.Type == vm.FactInsns {
				c.insns[fact.Program] = fact.Count
			} else {
				c.features[fact.Group+"\x00"+fact.Name] = fact
			}
		}
		all = append(all, c)
	}
	slices.SortStableFunc(all, func(a, b column) int { return strings.Compare(a.kernel.Arch, b.kernel.Arch) })
	return all
}

func (p *page) row(cells ...string) { fmt.Fprintf(&p.b, "| %s |\n", strings.Join(cells, " | ")) }

func (p *page) header(first string) {
	cells, line := []string{first}, []string{"---"}
	for _, c := range p.columns {
		cells, line = append(cells, c.kernel.Name), append(line, "---")
	}
	p.row(cells...)
	p.row(line...)
}

func (p *page) kernels() {
	p.b.WriteString("\n## Kernels\n\n")
	p.row("name", "release", "LSMs", "for")
	p.row("---", "---", "---", "---")
	for _, c := range p.columns {
		p.row(c.kernel.Name, c.facts.Release, strings.ReplaceAll(c.facts.LSM, ",", " "), c.kernel.Note)
	}
}

func (p *page) features() {
	groups, names := p.featureNames()
	for _, g := range groups {
		fmt.Fprintf(&p.b, "\n## Features: %s\n\n", g)
		p.header("feature")
		for _, n := range names[g] {
			cells := []string{n}
			for _, c := range p.columns {
				f, ok := c.features[g+"\x00"+n]
				cells = append(cells, cell(f, ok))
			}
			p.row(cells...)
		}
		p.reasons(g, names[g])
	}
}

// reasons lists why a feature has no better tier, kernels with the same reason
// together.
func (p *page) reasons(group string, names []string) {
	title := "\nWhy nothing better:\n\n"
	for _, n := range names {
		var order []string
		kernels := map[string][]string{}
		for _, c := range p.columns {
			why := c.features[group+"\x00"+n].Why
			if why == "" {
				continue
			}
			if kernels[why] == nil {
				order = append(order, why)
			}
			kernels[why] = append(kernels[why], c.kernel.Name)
		}
		for _, why := range order {
			fmt.Fprintf(&p.b, "%s- %s on %s: %s\n", title, n, strings.Join(kernels[why], ", "), escape(why))
			title = ""
		}
	}
}

// featureNames lists groups, and features in each, in the order in which the
// tests told them.
func (p *page) featureNames() (groups []string, names map[string][]string) {
	names = map[string][]string{}
	for _, c := range p.columns {
		for _, f := range c.facts.All() {
			if f.Type != vm.FactFeature || slices.Contains(names[f.Group], f.Name) {
				continue
			}
			if names[f.Group] == nil {
				groups = append(groups, f.Group)
			}
			names[f.Group] = append(names[f.Group], f.Name)
		}
	}
	return groups, names
}

func cell(f vm.Fact, known bool) string {
	switch {
	case !known:
		return "not tested"
	case f.Tier == "":
		return "–"
	}
	return fmt.Sprintf("**%s** %s", f.Guarantee, escape(f.Tier))
}

// escape keeps text in its cell.
func escape(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(s)
}

func (p *page) insns() {
	var programs []string
	for _, c := range p.columns {
		for n := range c.insns {
			if !slices.Contains(programs, n) {
				programs = append(programs, n)
			}
		}
	}
	if len(programs) == 0 {
		return
	}
	slices.Sort(programs)
	fmt.Fprintf(&p.b, "\n## Verified instructions\n\nHow many instructions the verifier walked to accept a program. "+
		"The kernel's limit is %d; a test fails above %d.\n–: the program is not used on that kernel, or the kernel (before 5.16) does not tell.\n\n", vm.VerifierLimit, vm.VerifierBudget)
	p.header("program")
	for _, n := range programs {
		cells := []string{"`" + n + "`"}
		for _, c := range p.columns {
			if count := c.insns[n]; count > 0 {
				cells = append(cells, fmt.Sprint(count))
			} else {
				cells = append(cells, "–")
			}
		}
		p.row(cells...)
	}
}
