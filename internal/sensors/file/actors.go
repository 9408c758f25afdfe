package file

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// Bounds of what is remembered of actors: as many, for as long.
const (
	maxActors   = 1024
	actorFresh  = 100 * time.Millisecond    // an exec or setuid meanwhile is not noticed
	actorGone   = 2 * time.Second           // an ended process is remembered so long: its pid may be another's by then
	clockTick   = uint64(time.Second / 100) // USER_HZ is 100 on all our architectures
	statusBytes = 4096
)

// actors reads from /proc who a process is, which may have ended by now. One
// goroutine uses it.
type actors struct {
	known map[uint32]knownActor
	buf   []byte
}

type knownActor struct {
	a    fileEventActor
	read time.Time
}

func newActors() *actors {
	return &actors{known: make(map[uint32]knownActor), buf: make([]byte, statusBytes)}
}

// of returns the process; only its pid when it has ended.
func (s *actors) of(pid uint32, now time.Time) fileEventActor {
	if k, ok := s.known[pid]; ok && now.Sub(k.read) < actorFresh {
		return k.a
	}
	a := fileEventActor{Pid: pid}
	dir := "/proc/" + strconv.Itoa(int(pid))
	if pid != 0 && !parseStat(s.read(dir+"/stat"), &a) {
		if k, ok := s.known[pid]; ok && now.Sub(k.read) < actorGone {
			return k.a // it ended a moment ago
		}
		return fileEventActor{Pid: pid}
	}
	parseUIDs(s.read(dir+"/status"), &a)
	if len(s.known) >= maxActors {
		clear(s.known)
	}
	s.known[pid] = knownActor{a, now}
	return a
}

func (s *actors) read(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	n, _ := f.Read(s.buf) // an error leaves nothing to parse
	return s.buf[:n]
}

// parseStat takes name and start time out of proc_pid_stat(5).
func parseStat(b []byte, a *fileEventActor) bool {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return false
	}
	f := bytes.Fields(b[end+1:])
	if len(f) < 20 {
		return false
	}
	ticks, err := strconv.ParseUint(string(f[19]), 10, 64)
	if err != nil {
		return false
	}
	a.Start = ticks * clockTick
	for i, c := range b[open+1 : end] {
		if i < len(a.Comm)-1 {
			a.Comm[i] = int8(c)
		}
	}
	return true
}

// parseUIDs takes the user ids out of proc_pid_status(5).
func parseUIDs(b []byte, a *fileEventActor) {
	_, b, ok := bytes.Cut(b, []byte("\nUid:"))
	if !ok {
		return
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	f := bytes.Fields(line)
	if len(f) < 2 {
		return
	}
	uid, err := strconv.ParseUint(string(f[0]), 10, 32)
	euid, err2 := strconv.ParseUint(string(f[1]), 10, 32)
	if err == nil && err2 == nil {
		a.Uid, a.Euid = uint32(uid), uint32(euid)
	}
}
