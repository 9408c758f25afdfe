package kernel

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mountPoint is one line of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
type mountPoint struct {
	id     uint64
	root   string
	path   string
	fstype string
}

// madeMount is a mount that we made and undo.
type madeMount struct {
	mountPoint
	madeDir bool
}

// parseMountinfo reads /proc/PID/mountinfo; it skips lines it can't read.
func parseMountinfo(s string) []mountPoint {
	var mounts []mountPoint
	for line := range strings.Lines(s) {
		left, right, ok := strings.Cut(line, " - ")
		f, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(f) < 6 || len(r) < 1 {
			continue
		}
		id, err := strconv.ParseUint(f[0], 10, 64)
		if err != nil {
			continue
		}
		mounts = append(mounts, mountPoint{id: id, root: unescape(f[3]), path: unescape(f[4]), fstype: r[0]})
	}
	return mounts
}

// unescape undoes the octal escapes of mountinfo: \040 is a space.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func readMounts() ([]mountPoint, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	return parseMountinfo(string(b)), nil
}

// mountOf returns where a filesystem of that type is mounted. Only cgroup2 may
// be anywhere: the others are of use at their usual place alone.
func mountOf(mounts []mountPoint, fstype string) string {
	found := ""
	for _, m := range mounts {
		switch {
		case m.fstype != fstype:
		case m.path == usualPlace[fstype]:
			return m.path
		case fstype == "tracefs" && m.path == "/sys/kernel/debug/tracing":
			found = m.path
		case fstype == "cgroup2" && (found == "" || m.root == "/"):
			found = m.path
		}
	}
	return found
}

var usualPlace = map[string]string{
	"tracefs":    "/sys/kernel/tracing",
	"securityfs": "/sys/kernel/security",
	"bpf":        "/sys/fs/bpf",
	"cgroup2":    "/sys/fs/cgroup",
}

// cgroupMode tells v1, hybrid, v2 or none from the mounts as we found them.
func cgroupMode(mounts []mountPoint) string {
	v1, v2 := false, mountOf(mounts, "cgroup2") != ""
	for _, m := range mounts {
		v1 = v1 || m.fstype == "cgroup"
	}
	switch {
	case v1 && v2:
		return "hybrid"
	case v1:
		return "v1"
	case v2:
		return "v2"
	}
	return "none"
}

// mountMissing mounts the kernel's filesystems that are not there. What can't
// be mounted is left out: the features that need it degrade.
func mountMissing(mounts []mountPoint, log *slog.Logger) []madeMount {
	var made []madeMount
	for _, fstype := range []string{"securityfs", "tracefs", "bpf", "cgroup2"} {
		if mountOf(mounts, fstype) != "" {
			continue
		}
		m, err := mountOne(mounts, fstype)
		if err != nil {
			log.Warn("a kernel filesystem can't be mounted", "type", fstype, "err", err)
			continue
		}
		log.Debug("mounted", "type", fstype, "path", m.path)
		made = append(made, m)
	}
	return made
}

func mountOne(mounts []mountPoint, fstype string) (madeMount, error) {
	m := madeMount{mountPoint: mountPoint{path: usualPlace[fstype], fstype: fstype}}
	if fstype == "cgroup2" && taken(mounts, m.path) { // v1 controllers live there
		dir, err := os.MkdirTemp("", "merlon-cgroup2-")
		if err != nil {
			return m, fmt.Errorf("mount %s: %w", fstype, err)
		}
		m.path, m.madeDir = dir, true
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	err := unix.Mount(fstype, m.path, fstype, flags, "")
	if err == nil {
		m.id, err = mountID(m.path, fstype)
	}
	if err != nil {
		if m.madeDir {
			_ = os.Remove(m.path) // the error to tell is the mount's
		}
		return m, fmt.Errorf("mount %s at %s: %w", fstype, m.path, err)
	}
	return m, nil
}

func taken(mounts []mountPoint, path string) bool {
	for _, m := range mounts {
		if m.path == path {
			return true
		}
	}
	return false
}

// mountID returns the id of the topmost mount of that type at path.
func mountID(path, fstype string) (uint64, error) {
	mounts, err := readMounts()
	if err != nil {
		return 0, err
	}
	for i := len(mounts) - 1; i >= 0; i-- {
		if mounts[i].path == path && mounts[i].fstype == fstype {
			return mounts[i].id, nil
		}
	}
	return 0, fmt.Errorf("find mount %s: %w", path, os.ErrNotExist)
}

// undo unmounts what mountMissing mounted, if it is still the same mount. It
// leaves a bpffs that holds pins and a mount that somebody else came to use.
func (m madeMount) undo(log *slog.Logger) error {
	if m.fstype == "bpf" && !emptyDir(m.path) {
		log.Info("bpffs stays mounted: something is pinned there", "path", m.path)
		return nil
	}
	if id, err := mountID(m.path, m.fstype); err != nil || id != m.id {
		return nil // somebody else unmounted it, or mounted over it
	}
	var err error
	for range 50 { // a hook's asynchronous release may hold the mount for some milliseconds
		if err = unix.Unmount(m.path, unix.UMOUNT_NOFOLLOW); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	if errors.Is(err, unix.EBUSY) {
		log.Info("a mount stays: somebody else uses it", "type", m.fstype, "path", m.path)
		return nil
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", m.path, err)
	}
	if m.madeDir {
		return os.Remove(m.path)
	}
	return nil
}

func emptyDir(path string) bool {
	d, err := os.ReadDir(path)
	return err != nil || len(d) == 0
}
