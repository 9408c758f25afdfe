package cli

import (
	"strings"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

// featureTable prints what this kernel can do, by group. With why it tells
// under each feature what stands in the way of something better.
func (p *printer) featureTable(features []event.Feature, why bool) {
	var groups []string
	rows := map[string][]event.Feature{}
	for _, f := range features {
		if _, known := rows[f.Group]; !known {
			groups = append(groups, f.Group)
		}
		rows[f.Group] = append(rows[f.Group], f)
	}
	wide := 0
	tier := 0
	for _, f := range features {
		wide, tier = max(wide, columns(event.Safe(f.Name))), max(tier, columns(event.Safe(f.Tier)))
	}
	said := map[string]string{}
	for _, g := range groups {
		p.line(p.bold(event.Safe(g)))
		for _, f := range rows[g] {
			p.featureRow(f, wide, tier)
			if why {
				p.featureWhy(f, said)
			}
		}
	}
}

// featureWhy prints what stands in the way of something better. A reason and
// cure that an earlier feature had are told by its name.
func (p *printer) featureWhy(f event.Feature, said map[string]string) {
	tier, reason, cut := strings.Cut(f.Why, ": ")
	if !cut {
		tier, reason = "", f.Why
	}
	if reason == "" && f.Cure == "" {
		return
	}
	if first, known := said[reason+"\n"+f.Cure]; known {
		if tier != "" {
			tier += ": "
		}
		p.wrapped("      why: ", event.Safe(tier)+"as for “"+event.Safe(first)+"”")
		return
	}
	said[reason+"\n"+f.Cure] = f.Name
	if f.Why != "" {
		p.wrapped("      why: ", event.Safe(f.Why))
	}
	if f.Cure != "" {
		p.wrapped("     cure: ", event.Safe(f.Cure))
	}
}

func (p *printer) featureRow(f event.Feature, wide, tier int) {
	colour, mark := p.green, "✓"
	switch {
	case f.Guarantee == event.Absent && f.Essential:
		colour, mark = p.red, "✗"
	case f.Guarantee == event.Absent:
		colour, mark = p.yellow, "–"
	}
	name := f.Tier
	if name == "" {
		name = "–"
	}
	p.line("  " + colour(mark) + " " + pad(event.Safe(f.Name), wide) + "  " + p.colourOf(f.Guarantee)(pad(string(f.Guarantee), 8)) + "  " + strings.TrimRight(pad(event.Safe(name), tier), " "))
}

func (p *printer) colourOf(g event.Guarantee) func(string) string {
	switch g {
	case event.Prevent:
		return p.green
	case event.React:
		return p.cyan
	case event.Absent:
		return p.dim
	}
	return p.blue
}

// wrapped prints text under a label, broken at words.
func (p *printer) wrapped(label, text string) {
	width := 100
	if p.columns() > 0 {
		width = p.columns()
	}
	indent := strings.Repeat(" ", columns(label))
	line := label
	for i, w := range strings.Fields(text) {
		if i > 0 && columns(line)+1+columns(w) > width {
			p.line(p.dim(line))
			line = indent + w
			continue
		}
		if i > 0 {
			line += " "
		}
		line += w
	}
	p.line(p.dim(line))
}

// environment prints what machine this is, in a line or two.
func (p *printer) environment(e kernel.Environment) {
	var parts []string
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+" "+event.Safe(value))
		}
	}
	add("lockdown", e.Lockdown)
	add("LSMs", strings.Join(e.LSMs, ","))
	add("cgroups", e.CgroupMode)
	add("JIT", e.JIT)
	if e.Seccomp != "" && e.Seccomp != "off" {
		add("seccomp", e.Seccomp)
	}
	add("container", e.Container)
	if e.BTF == "" {
		parts = append(parts, "no BTF")
	}
	p.line(p.bold("Linux "+event.Safe(e.Release)+" "+e.Arch) + "  " + p.dim(strings.Join(parts, " · ")))
}
