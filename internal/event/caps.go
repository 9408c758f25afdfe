package event

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// CapSet is a set of capabilities, bit n for capability number n
// (include/uapi/linux/capability.h). JSON shows it as /proc/PID/status does:
// sixteen hexadecimal digits.
type CapSet uint64

var capNames = [...]string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
	"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
	"CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// Has reports whether c holds the capability of that name, with or without
// its CAP_ prefix, in any case.
func (c CapSet) Has(name string) bool {
	name = strings.ToUpper(name)
	if !strings.HasPrefix(name, "CAP_") {
		name = "CAP_" + name
	}
	for i, n := range capNames {
		if n == name {
			return c&(1<<i) != 0
		}
	}
	return false
}

// Names lists the capabilities in c.
func (c CapSet) Names() []string {
	names := make([]string, 0, bits.OnesCount64(uint64(c)))
	for i := range 64 {
		if c&(1<<i) == 0 {
			continue
		}
		if i < len(capNames) {
			names = append(names, capNames[i])
		} else {
			names = append(names, "CAP_"+strconv.Itoa(i))
		}
	}
	return names
}

// MarshalText writes c as sixteen hexadecimal digits.
func (c CapSet) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x", uint64(c)), nil }

// UnmarshalText reads what MarshalText wrote.
func (c *CapSet) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 16, 64)
	if err != nil {
		return fmt.Errorf("parse capability set: %w", err)
	}
	*c = CapSet(n)
	return nil
}
