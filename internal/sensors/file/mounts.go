package file

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is one line of /proc/PID/mountinfo, proc_pid_mountinfo(5).
type mount struct {
	id      uint64
	dev     uint32 // kernel encoding
	root    string // of the mount, within its file system
	target  string
	fs      string
	source  string
	options string // of the file system
}

// readMounts lists the mounts of this process by id.
func readMounts(path string) (map[uint64]mount, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	mounts := make(map[uint64]mount)
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if m, ok := parseMount(s.Text()); ok {
			mounts[m.id] = m
		}
	}
	return mounts, nil
}

func parseMount(line string) (m mount, ok bool) {
	f := strings.Fields(line)
	if len(f) < 9 {
		return m, false
	}
	major, minor, _ := strings.Cut(f[2], ":")
	ma, err1 := strconv.ParseUint(major, 10, 12)
	mi, err2 := strconv.ParseUint(minor, 10, 20)
	id, err := strconv.ParseUint(f[0], 10, 64)
	if err != nil || err1 != nil || err2 != nil {
		return m, false
	}
	for i := 6; i+3 < len(f)+1; i++ { // optional fields end with a hyphen
		if f[i] != "-" {
			continue
		}
		rest := f[i+1:]
		if len(rest) < 2 {
			return m, false
		}
		m = mount{id: id, dev: uint32(ma<<20 | mi), root: unescape(f[3]), target: unescape(f[4]), fs: rest[0], source: unescape(rest[1])}
		if len(rest) > 2 {
			m.options = unescape(rest[2])
		}
		return m, true
	}
	return m, false
}

// unescape undoes the octal escapes of mountinfo (\040 and the like).
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

// real reports whether the file system holds anybody's files; the programs'
// own list is pseudo in act.h.
func (m *mount) real() bool {
	switch m.fs {
	case "proc", "sysfs", "cgroup", "cgroup2", "pipefs", "sockfs", "anon_inodefs", "devpts", "bpf", "tracefs", "debugfs",
		"securityfs", "nsfs", "pidfs", "selinuxfs", "configfs", "fusectl", "pstore", "efivarfs", "autofs", "binfmt_misc", "mqueue", "rpc_pipefs":
		return false
	}
	return true
}

var errHidden = errors.New("another mount hides it")

// open opens the mount's root; it fails when another mount hides it. The
// caller closes it soon: an open file keeps a mount from being unmounted.
func (m *mount) open() (fd int, err error) {
	fd, err = unix.Open(m.target, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, fmt.Errorf("open mount %s: %w", m.target, err)
	}
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err == nil && st.Mask&unix.STATX_MNT_ID != 0 && st.Mnt_id != m.id {
		_ = unix.Close(fd) // opened for reading
		return -1, fmt.Errorf("open mount %s: %w", m.target, errHidden)
	}
	return fd, nil
}

// openMounts opens mountinfo for polling. Not with package os: the runtime's
// poller would take the kernel's word for itself.
func openMounts(path string) (fd int, err error) {
	if fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return -1, fmt.Errorf("follow mounts: %w", err)
	}
	return fd, nil
}
