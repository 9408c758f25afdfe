package privilege

import "github.com/merlon/merlon/internal/event"

// The causes, as event.Privilege names them.
const (
	causeFile  = "setuid_file"
	causeCap   = "capability"
	causeOwner = "owner"
	causeNS    = "user_namespace"
	causeNone  = "none"
)

// initialUserNS is the inode number of the initial user namespace
// (include/linux/proc_ns.h: PROC_USER_INIT_INO).
const initialUserNS = 0xEFFFFFFD

// needs are the capabilities that allow an act of that kind, any of them.
var needs = map[event.Kind]event.CapSet{
	event.KindSetuid: 1 << 7, event.KindSetgid: 1 << 6, event.KindCapset: 1 << 8,
	event.KindSetns: 1 << 21, event.KindUnshare: 1 << 21, event.KindChroot: 1 << 18, event.KindPivotRoot: 1 << 21,
	event.KindPtrace: 1 << 19, event.KindVMWrite: 1 << 19, event.KindMemWrite: 1 << 19,
	event.KindModuleLoad: 1 << 16, event.KindModuleUnload: 1 << 16, event.KindBPFLoad: 1<<39 | 1<<21,
	event.KindKexec: 1 << 22, event.KindPerfOpen: 1<<38 | 1<<21, event.KindSignal: 1 << 5,
}

// cause says what allows the act, from what the kernel told: p's credentials
// and target, r's user namespace.
func cause(kind event.Kind, p *part, r *privilegePrivRec) string {
	if p.priv.Via != "" { // the kernel's own verdict
		if r.Result != 0 {
			return causeNone
		}
		if b := &p.before; kind == event.KindSetuid && byFile(b) || kind == event.KindSetgid && byGroupFile(b) {
			return causeFile
		}
		return byCapability(r)
	}
	if p.priv.Result != 0 {
		return causeNone // it was refused
	}
	able := p.before.Effective&needs[kind] != 0
	switch kind {
	case event.KindSetuid, event.KindSetgid:
		return causeOfIDs(kind, p, r, able)
	case event.KindCapset:
		if p.after.Permitted&^p.before.Permitted == 0 && p.after.Bounding == p.before.Bounding {
			return causeOwner // giving up, or using, what it has
		}
		if p.after.Permitted&^p.before.Permitted != 0 {
			return causeNone // nothing allows that
		}
	case event.KindCredChange:
		return causeOfChange(p)
	case event.KindPtrace, event.KindVMWrite, event.KindMemWrite:
		b, t := &p.before, &p.target
		if r.Bits&uint8(privilegePrivBitPRIV_TARGET) == 0 { // whose it is isn't known; the kernel let it
			if able {
				return byCapability(r)
			}
			return causeOwner
		}
		if b.UID == t.UID && b.UID == t.EUID {
			return causeOwner
		}
	case event.KindSignal:
		b, t := &p.before, &p.target
		if b.EUID == t.UID || b.UID == t.UID {
			return causeOwner
		}
	case event.KindUsernsCreate, event.KindUnshare:
		if p.before.Effective&needs[event.KindUnshare] != 0 {
			break
		}
		if r.Types == newUser {
			return causeOwner // allowed to everybody
		}
		if r.Types&newUser != 0 {
			return causeNS
		}
		if r.Types == 0 {
			return causeOwner
		}
		return causeNone
	case event.KindMemfdCreate, event.KindWXMap, event.KindUringSetup, event.KindKeyringJoin:
		return causeOwner // a process's own
	case event.KindBPFLoad, event.KindPerfOpen:
		if !able {
			return causeOwner // the kernel let it: sysctls allow it to everybody
		}
	}
	if kind == event.KindUsernsCreate || able {
		return byCapability(r)
	}
	return causeNone
}

const newUser = 0x10000000 // CLONE_NEWUSER

// byCapability says in which user namespace a capability counted.
func byCapability(r *privilegePrivRec) string {
	if r.Userns != initialUserNS && r.Userns != 0 {
		return causeNS
	}
	return causeCap
}

// causeOfIDs judges setuid(2) and its kin: an id that the process has already,
// or any with the capability. One whose real id is another than the ids it acts
// with got those from a setuid file.
func causeOfIDs(kind event.Kind, p *part, r *privilegePrivRec, able bool) string {
	b, a := &p.before, &p.after
	has := func(id uint32) bool { return id == b.UID || id == b.EUID || id == b.SUID }
	own := has(a.UID) && has(a.EUID) && has(a.SUID)
	file := byFile(b)
	if kind == event.KindSetgid {
		has := func(id uint32) bool { return id == b.GID || id == b.EGID || id == b.SGID }
		own = has(a.GID) && has(a.EGID) && has(a.SGID)
		file = byGroupFile(b)
	}
	switch {
	case file && (own || able):
		return causeFile
	case own && !able:
		return causeOwner
	case able:
		return byCapability(r)
	}
	return causeNone
}

// byFile reports whether a process got the user ids it acts with from a file.
// Root that acts as another for a while is the other way round.
func byFile(c *event.Creds) bool { return c.UID != 0 && (c.EUID != c.UID || c.SUID != c.UID) }

// byGroupFile is the same of a file's user or group.
func byGroupFile(c *event.Creds) bool {
	return byFile(c) || c.UID != 0 && (c.EGID != c.GID || c.SGID != c.GID)
}

// causeOfChange judges credentials that changed in a call that is not made for
// it: entering a user namespace is legal, and so is losing; gaining is not.
func causeOfChange(p *part) string {
	b, a := &p.before, &p.after
	switch {
	case p.priv.NS != 0:
		return causeNS
	case a.UID == b.UID && a.EUID == b.EUID && a.SUID == b.SUID && a.GID == b.GID && a.EGID == b.EGID && a.SGID == b.SGID &&
		a.Permitted&^b.Permitted == 0:
		return causeOwner
	}
	return causeNone
}
