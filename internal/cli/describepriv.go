package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/merlon/merlon/internal/event"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// describePrivilege says what was done with privileges.
func describePrivilege(kind event.Kind, v *event.Privilege) (what, note string) {
	call := event.Safe(v.Call)
	if call == "" {
		call = string(kind)
	}
	parts := []string{call}
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch kind {
	case event.KindSetuid, event.KindSetgid, event.KindCapset, event.KindCredChange, event.KindUsernsCreate:
		if change := credChange(v.Before, v.After); change != "" {
			add("%s", change)
		}
	case event.KindSignal:
		add("%s", signalName(v.Signal))
	case event.KindWXMap:
		add("%s at %#x, %s", event.Safe(v.Prot), v.Address, bytesText(v.Length))
	case event.KindBPFLoad:
		add("%s", event.Safe(v.BPFType))
	case event.KindVMWrite:
		add("%s at %#x", bytesText(v.Length), v.Address)
	}
	if v.NSTypes != "" {
		add("%s", event.Safe(v.NSTypes))
	}
	if v.NS != 0 {
		add("ns %d", v.NS)
	}
	if v.Name != "" {
		add("%s", v.Name.String())
	}
	if v.Path != "" {
		add("%s", v.Path.String())
	}
	if v.Target != nil {
		add("→ %s", targetText(v.Target))
	}
	if len(v.Helpers) > 0 {
		add("uses %s", event.Safe(strings.Join(v.Helpers, ",")))
	}
	return strings.Join(parts, " "), noteOf(v.Result, map[string]bool{
		"no cause": v.Cause == "none", event.Safe(v.Cap): v.Cap != "", "the check only": v.Via == "capable",
	})
}

// targetText names the process acted upon.
func targetText(t *event.Target) string {
	return t.Comm.String() + "(" + strconv.FormatUint(uint64(t.PID), 10) + ") of uid " + strconv.FormatUint(uint64(t.UID), 10)
}

// credChange says what differs between credentials; "" when one is unknown or
// nothing does.
func credChange(before, after *event.Creds) string {
	if before == nil || after == nil {
		return ""
	}
	var parts []string
	ids := func(name string, a, b [3]uint32) {
		if a != b {
			parts = append(parts, fmt.Sprintf("%s %s → %s", name, idText(a), idText(b)))
		}
	}
	ids("uid", [3]uint32{before.UID, before.EUID, before.SUID}, [3]uint32{after.UID, after.EUID, after.SUID})
	ids("gid", [3]uint32{before.GID, before.EGID, before.SGID}, [3]uint32{after.GID, after.EGID, after.SGID})
	for _, s := range []struct {
		name string
		a, b event.CapSet
	}{
		{"effective", before.Effective, after.Effective}, {"permitted", before.Permitted, after.Permitted},
		{"inheritable", before.Inheritable, after.Inheritable}, {"bounding", before.Bounding, after.Bounding}, {"ambient", before.Ambient, after.Ambient},
	} {
		if s.a != s.b {
			parts = append(parts, s.name+capChange(s.a, s.b))
		}
	}
	return strings.Join(parts, ", ")
}

// idText writes real, effective and saved id, once when they are the same.
func idText(ids [3]uint32) string {
	if ids[0] == ids[1] && ids[1] == ids[2] {
		return strconv.FormatUint(uint64(ids[0]), 10)
	}
	return fmt.Sprintf("%d/%d/%d", ids[0], ids[1], ids[2])
}

// capChange names the capabilities gained and lost, or counts them when they
// are many.
func capChange(a, b event.CapSet) string {
	text := ""
	for _, c := range []struct {
		sign string
		set  event.CapSet
	}{{"+", b &^ a}, {"-", a &^ b}} {
		names := c.set.Names()
		switch {
		case len(names) > 3:
			text += fmt.Sprintf(" %s%d capabilities", c.sign, len(names))
		case len(names) > 0:
			text += " " + c.sign + strings.ToLower(strings.ReplaceAll(strings.Join(names, ","), "CAP_", ""))
		}
	}
	return text
}
