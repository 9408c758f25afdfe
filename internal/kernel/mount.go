package kernel

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mountPoint is one line of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
type mountPoint struct {
	root   string
	path   string
	fstype string
	source string
	super  string // options of the filesystem itself
}

// mountSource marks our mounts in mountinfo, so that the last of several
// agents, or the next one after a SIGKILL, undoes them. Before Linux 5.17
// (1e9d74660d4d) a bpffs forgets its source: its odd but harmless mode tells.
const (
	mountSource = "merlon"
	bpffsMode   = "mode=2700"
)

func (m mountPoint) ours() bool {
	return m.source == mountSource || m.fstype == "bpf" && slices.Contains(strings.Split(m.super, ","), bpffsMode)
}

// parseMountinfo reads /proc/PID/mountinfo; it skips lines it can't read.
func parseMountinfo(s string) []mountPoint {
	var mounts []mountPoint
	for line := range strings.Lines(s) {
		left, right, ok := strings.Cut(line, " - ")
		f, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(f) < 6 || len(r) < 2 {
			continue
		}
		mounts = append(mounts, mountPoint{root: unescape(f[3]), path: unescape(f[4]), fstype: r[0], source: unescape(r[1]), super: strings.Join(r[2:], " ")})
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

// heldMount is a mounted filesystem that the agent uses, and keeps from being
// unmounted by an open descriptor.
type heldMount struct {
	fstype, path string
	fd           int
}

// kernelFS are the filesystems that the agent uses, with their magic numbers
// (include/uapi/linux/magic.h).
var kernelFS = []struct {
	fstype string
	magic  int64
}{
	{"securityfs", unix.SECURITYFS_MAGIC},
	{"tracefs", unix.TRACEFS_MAGIC},
	{"bpf", unix.BPF_FS_MAGIC},
	{"cgroup2", unix.CGROUP2_SUPER_MAGIC},
}

// holdMounts mounts the kernel's filesystems that are not there and holds all
// of them. What can't be mounted is left out: the features that need it
// degrade.
func holdMounts(log *slog.Logger) []heldMount {
	var held []heldMount
	for _, fs := range kernelFS {
		h, err := holdMount(fs.fstype, fs.magic)
		if err != nil {
			log.Warn("a kernel filesystem can't be mounted", "type", fs.fstype, "err", err)
			continue
		}
		held = append(held, h)
	}
	return held
}

func holdMount(fstype string, magic int64) (heldMount, error) {
	h := heldMount{fstype: fstype}
	for range 5 { // another agent may unmount between our look and our hold
		mounts, err := readMounts()
		if err != nil {
			return h, err
		}
		if h.path = mountOf(mounts, fstype); h.path == "" {
			if h.path, err = mountOne(mounts, fstype); err != nil {
				return h, err
			}
		}
		h.fd, err = unix.Open(h.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		var st unix.Statfs_t
		if unix.Fstatfs(h.fd, &st) == nil && int64(st.Type) == magic {
			return h, nil
		}
		_ = unix.Close(h.fd) // only a path
	}
	return h, fmt.Errorf("hold %s: it keeps vanishing", h.path)
}

func mountOne(mounts []mountPoint, fstype string) (string, error) {
	path, made := usualPlace[fstype], false
	if fstype == "cgroup2" && taken(mounts, path) { // v1 controllers live there
		dir, err := os.MkdirTemp("", "merlon-cgroup2-")
		if err != nil {
			return "", fmt.Errorf("mount %s: %w", fstype, err)
		}
		path, made = dir, true
	}
	options := map[string]string{"bpf": bpffsMode}[fstype]
	if err := unix.Mount(mountSource, path, fstype, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options); err != nil {
		if made {
			_ = os.Remove(path) // the error to tell is the mount's
		}
		return "", fmt.Errorf("mount %s at %s: %w", fstype, path, err)
	}
	return path, nil
}

func taken(mounts []mountPoint, path string) bool {
	return slices.ContainsFunc(mounts, func(m mountPoint) bool { return m.path == path })
}

// releaseMounts lets go of the held mounts and undoes those that an agent
// made, unless another one still uses them or something is pinned there.
func releaseMounts(held []heldMount, log *slog.Logger) error {
	for _, h := range held {
		_ = unix.Close(h.fd) // only a path
	}
	mounts, err := readMounts()
	errs := []error{err}
	for _, m := range mounts {
		if m.ours() && slices.ContainsFunc(held, func(h heldMount) bool { return h.path == m.path && h.fstype == m.fstype }) {
			errs = append(errs, m.undo(log))
		}
	}
	return errors.Join(errs...)
}

func (m mountPoint) undo(log *slog.Logger) error {
	if m.fstype == "bpf" && !unpinned(m.path) {
		log.Info("bpffs stays mounted: something is pinned there", "path", m.path)
		return nil
	}
	var err error
	for range 20 { // a hook's asynchronous release may hold the mount for some milliseconds
		if err = unix.Unmount(m.path, unix.UMOUNT_NOFOLLOW); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	switch {
	case errors.Is(err, unix.EBUSY):
		log.Info("a mount stays: somebody else uses it", "type", m.fstype, "path", m.path)
		return nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
		return nil // somebody else unmounted it
	case err != nil:
		return fmt.Errorf("unmount %s: %w", m.path, err)
	}
	if m.path != usualPlace[m.fstype] {
		return os.Remove(m.path)
	}
	return nil
}

// unpinned reports whether a bpffs holds no pins. Names with a dot are not
// pins: the kernel refuses those, and makes some itself (kernel/bpf/preload).
func unpinned(path string) bool {
	entries, err := os.ReadDir(path)
	return err == nil && !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return !strings.Contains(e.Name(), ".") })
}
