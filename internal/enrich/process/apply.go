package process

import "github.com/merlon/merlon/internal/event"

// fork adds a child, which is a copy of its creator. Forks travel on another
// ring than execs and exits and may come after them: then the newer image
// stays, and only the ancestry is completed.
func (t *Tree) fork(ev *event.Event) {
	p := ev.Process
	p.Origin = event.OriginFork
	parent := t.parentOf(p, true)
	creator := parent
	if ev.Fork != nil && ev.Fork.Creator.PID != 0 && ev.Fork.Creator != p.ParentKey() {
		creator = t.find(ev.Fork.Creator.PID, ev.Fork.Creator.Start) // CLONE_PARENT
	}
	if creator != nil && creator.image {
		t.alive(creator, ev.Boot)
		was, certain := creator.stateAt(ev.Boot)
		if certain {
			ev.Was = was
		}
		inherit(p, was)
		if ev.Boot >= creator.at {
			t.follow(creator, p)
		}
	}
	if parent != nil {
		t.complete(parent)
		p.SetParent(parent.imageAt(ev.Boot))
	}
	n := t.find(p.PID, p.Start)
	if n == nil {
		n = t.insert(p, true, ev.Boot)
		n.adopted = creator != parent
		t.wait(n)
		return
	}
	p.Start = n.start
	n.adopted = creator != parent
	if !n.image {
		if !n.live {
			t.counters.lateForks.Add(1)
		}
		t.set(n, p, true)
		n.at = ev.Boot
		t.settle(n)
	} else {
		t.counters.lateForks.Add(1)
		t.relink(n, p, ev.Boot)
	}
	n.gen, n.seen = t.gen, max(n.seen, ev.Boot)
}

// inherit gives a process what it shares with from and its own record does
// not carry: after a fork the image, and after either what the cgroup tells.
func inherit(p, from *event.Process) {
	p.Exe, p.Args, p.File, p.CWD = from.Exe, from.Args, from.File, from.CWD
	if p.Comm == "" {
		p.Comm = from.Comm
	}
	sameCgroup(p, from)
}

func sameCgroup(p, from *event.Process) {
	if p.Cgroup == "" && p.CgroupID == from.CgroupID && p.CgroupV1 == from.CgroupV1 {
		p.Cgroup, p.Container, p.Service, p.Slice = from.Cgroup, from.Container, from.Service, from.Slice
	}
}

// follow takes over credentials that the creator got since its last exec: its
// child has copied them (kernel/cred.c, copy_creds).
func (t *Tree) follow(n *node, child *event.Process) {
	if n.p.Creds == child.Creds || n.p.NS.User != child.NS.User {
		return
	}
	p := *n.p
	p.Creds, p.User, p.Group = child.Creds, child.User, child.Group
	t.set(n, &p, true)
}

// relink completes the ancestry of n from its late fork.
func (t *Tree) relink(n *node, p *event.Process, boot uint64) {
	t.recall(n, p, boot)
	defer t.settle(n)
	if blank(p.Parent) || (!blank(n.p.Parent) && n.p.Parent.Key() == p.Parent.Key() && n.p.Origin != event.OriginInferred) {
		return
	}
	q := *n.p
	if q.Origin == event.OriginInferred {
		q.Origin = event.OriginExec
	}
	q.SetParent(p.Parent)
	t.set(n, &q, true)
}

// exec gives a process a new image.
func (t *Tree) exec(ev *event.Event) {
	p := ev.Process
	if p.Args == nil {
		p.Args = ev.Exec.Args
	}
	size := t.keep(p)
	p.Origin = event.OriginExec
	n := t.find(p.PID, p.Start)
	if n == nil || !n.image || blank(n.p.Parent) {
		if parent := t.parentOf(p, true); parent != nil {
			t.complete(parent)
			p.SetParent(parent.imageAt(p.Start))
		}
		n = t.find(p.PID, p.Start) // a placeholder may have taken its place
	}
	if n == nil {
		p.Origin = event.OriginInferred
		t.counters.inferred.Add(1)
		n = t.insert(p, true, ev.Boot)
		t.account(n, size)
		t.wait(n)
		return
	}
	p.Start = n.start
	t.alive(n, ev.Boot)
	image := n.image
	if !image {
		p.Origin = event.OriginInferred
		t.counters.inferred.Add(1)
	} else if ev.Boot < n.at && !sameImage(p, n.p) {
		t.stale(n, ev)
		return
	} else {
		if !blank(n.p.Parent) {
			p.SetParent(n.p.Parent)
		}
		t.replaced(n, ev)
	}
	n.at = max(n.at, ev.Boot)
	t.set(n, p, true)
	t.account(n, size)
	if !image {
		t.settle(n)
	}
}

// replaced tells ev of the image that it puts an end to.
func (t *Tree) replaced(n *node, ev *event.Event) {
	was := n.p
	if ev.Boot < n.at { // n knows of this exec from a seed
		s := n.last()
		if s == nil {
			return
		}
		was = s.p
	} else {
		t.remember(n)
	}
	ev.Was = was
	ev.Exec.Previous = was.Exe
	sameCgroup(ev.Process, was)
}

// stale links an exec that is older than the image known of its process.
func (t *Tree) stale(n *node, ev *event.Event) {
	t.counters.staleImages.Add(1)
	if n.p.Parent != nil {
		ev.Process.SetParent(n.p.Parent)
	}
	if was, certain := n.stateAt(ev.Boot); certain {
		ev.Was = was
		ev.Exec.Previous = was.Exe
	}
}

// exit retires a process; ev gets what is known of it.
func (t *Tree) exit(ev *event.Event) {
	p := ev.Process
	n := t.find(p.PID, p.Start)
	switch {
	case n == nil:
		p.Origin = event.OriginInferred
		t.counters.inferred.Add(1)
		if parent := t.parentOf(p, false); parent != nil {
			p.SetParent(parent.p)
		}
		n = t.insert(p, false, ev.Boot)
	case n.exitTold:
		t.counters.duplicateExits.Add(1)
		ev.Kind = ""
		return
	case n.image:
		t.complete(n)
		ev.Was, ev.Process = n.p, n.p
	default:
		p.Origin = event.OriginInferred
		t.counters.inferred.Add(1)
		p.Start = n.start
		p.SetParent(n.p.Parent)
		t.set(n, p, false)
	}
	n.exitTold = true
	t.retire(n)
}

// attribute finds the process of an event that names only its thread. One
// that is not known is told by what the event says of it, and not kept.
func (t *Tree) attribute(ev *event.Event) {
	th := &ev.Thread
	var n *node
	if th.Start != 0 {
		n = t.find(th.PID, th.Start)
	} else { // the source does not tell: the youngest that is old enough
		for n = t.shard(th.PID).pid[th.PID]; n != nil && n.start > ev.Boot; {
			n = n.older
		}
	}
	if n != nil && n.image {
		ev.Process = n.imageAt(ev.Boot)
		ev.Was = ev.Process
		if t.become(n, ev) {
			ev.Process = n.p
		}
		return
	}
	t.counters.unknown.Add(1)
	ev.Process = &event.Process{PID: th.PID, Start: th.Start, Comm: th.Comm, CgroupID: th.CgroupID,
		LoginUID: ^uint32(0), AuditSess: ^uint32(0),
		Creds: event.Creds{UID: th.UID, EUID: th.EUID}, Origin: event.OriginInferred}
}

// become takes over credentials that the process has given itself; reports
// whether it did. Credentials belong to threads: the first one's are those of
// the process. The names of new ids are not known here, so old names go.
func (t *Tree) become(n *node, ev *event.Event) bool {
	switch ev.Kind {
	case event.KindSetuid, event.KindSetgid, event.KindCapset, event.KindCredChange:
	default:
		return false
	}
	priv := ev.Privilege
	if priv == nil || priv.After == nil || priv.Result != 0 || ev.Thread.TID != ev.Thread.PID || ev.Boot < n.at {
		return false
	}
	p := *n.p
	if p.Creds == *priv.After && (priv.NS == 0 || priv.NS == p.NS.User) {
		return false
	}
	if p.Creds.EUID != priv.After.EUID {
		p.User = ""
	}
	if p.Creds.EGID != priv.After.EGID {
		p.Group = ""
	}
	p.Creds = *priv.After
	if priv.NS != 0 { // it has entered another user namespace
		p.NS.User = priv.NS
	}
	t.set(n, &p, true)
	return true
}

// alive notes a sign of life at that time.
func (t *Tree) alive(n *node, boot uint64) {
	n.gen, n.seen = t.gen, max(n.seen, boot)
	if n.live {
		t.live.touch(n)
		return
	}
	if n.exitTold || t.shard(n.pid).pid[n.pid] != n {
		return
	}
	s := t.shard(n.pid)
	s.mu.Lock()
	n.live = true
	s.mu.Unlock()
	t.exited.remove(n)
	t.live.push(n)
	t.gauge()
}
