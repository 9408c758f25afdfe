package cli

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
)

// describeFile says what was done to a file.
func describeFile(kind event.Kind, f *event.FileAct) (what, note string) {
	path := f.Path.String()
	if path == "" {
		path = fmt.Sprintf("inode %d of device %s", f.Inode, devText(f.Dev))
	}
	switch kind {
	case event.KindFileCreate:
		what = "create " + event.Safe(f.Type) + " " + path
		if f.Mode != 0 {
			what += fmt.Sprintf(" %#o", f.Mode)
		}
	case event.KindFileOpen:
		what = "open for " + map[bool]string{true: "writing", false: "reading"}[f.Write] + " " + path
	case event.KindFileClose:
		what = "close " + path + " " + bytesText(f.Size)
	case event.KindFileDelete:
		what = "delete " + path
	case event.KindFileRename:
		what = "rename " + path + " → " + f.NewPath.String()
	case event.KindFileLink:
		what = "link " + path + " as " + f.NewPath.String()
	case event.KindFileSymlink:
		what = "symlink " + path + " → " + f.Link.String()
	case event.KindFileChmod:
		what = fmt.Sprintf("chmod %#o → %#o %s", f.OldMode, f.Mode, path)
	case event.KindFileChown:
		what = fmt.Sprintf("chown %d:%d → %d:%d %s", int32(f.OldUID), int32(f.OldGID), int32(f.UID), int32(f.GID), path)
	case event.KindFileXattr:
		what = map[bool]string{true: "remove", false: "set"}[f.Removed] + " attribute " + f.Xattr.String() + " of " + path
	case event.KindFileTruncate:
		what = "truncate " + path + " to " + bytesText(f.Size)
	}
	return what, noteOf(f.Result, map[string]bool{
		"memfd": f.Memfd, "setuid": f.Mode&unix.S_ISUID != 0, "setgid": f.Mode&unix.S_ISGID != 0 && f.Type == "file",
		event.Safe(f.Via): f.Via != "", "merged": f.Merged, "path " + event.Safe(f.Unresolved): f.Unresolved != "",
	})
}

// devText writes a device as major:minor, as ls does.
func devText(dev uint64) string { return fmt.Sprintf("%d:%d", dev>>20, dev&(1<<20-1)) }

func describeMount(kind event.Kind, m *event.MountAct) (what, note string) {
	if kind == event.KindUmount {
		what = "unmount " + m.Target.String()
	} else {
		what = "mount " + strings.TrimSpace(event.Safe(m.FS)+" "+m.Source.String()) + " on " + m.Target.String()
		if m.Options != "" {
			what += " (" + m.Options.String() + ")"
		}
	}
	return what, noteOf(m.Result, map[string]bool{"path " + event.Safe(m.Unresolved): m.Unresolved != ""})
}

// noteOf lists what is unusual: the error, and those names that are set.
func noteOf(result int, set map[string]bool) string {
	var names []string
	if result != 0 {
		names = append(names, errorName(result))
	}
	for _, k := range sortedKeys(set) {
		if set[k] {
			names = append(names, k)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "[" + strings.Join(names, " ") + "]"
}

// errorName names a negative error number as errno(3) does.
func errorName(result int) string {
	if result >= 0 {
		return ""
	}
	if name := unix.ErrnoName(syscall.Errno(-result)); name != "" {
		return name
	}
	return strconv.Itoa(result)
}

// endpoint writes an address and port.
func endpoint(addr string, port uint16) string {
	if addr == "" {
		addr = "*"
	}
	return net.JoinHostPort(event.Safe(addr), strconv.Itoa(int(port)))
}

// protocolOf names what a socket speaks.
func protocolOf(n *event.Net) string {
	if n.Protocol != "" {
		return event.Safe(n.Protocol)
	}
	return event.Safe(n.Family) + " " + event.Safe(n.Type)
}

func describeNet(kind event.Kind, n *event.Net) (what, note string) {
	proto, local, remote := protocolOf(n), endpoint(n.LocalAddr, n.LocalPort), endpoint(n.RemoteAddr, n.RemotePort)
	arrow := " → "
	if n.Direction == "in" {
		arrow = " ← "
	}
	if n.Domain != "" {
		remote += " (" + event.Safe(n.Domain) + ")"
	}
	switch kind {
	case event.KindNetConnect:
		what = "connect " + proto + " " + remote
		if n.LocalPort != 0 {
			what += " from " + local
		}
	case event.KindNetAccept:
		what = "accept " + proto + " " + local + " ← " + remote
	case event.KindNetBind:
		what = "bind " + proto + " " + local
	case event.KindNetListen:
		what = fmt.Sprintf("listen %s %s backlog %d", proto, local, n.Backlog)
	case event.KindNetClose, event.KindNetFlow:
		verb := map[event.Kind]string{event.KindNetClose: "close ", event.KindNetFlow: "flow "}[kind]
		what = verb + proto + " " + local + arrow + remote
		if n.BytesIn+n.BytesOut != 0 || n.Duration != 0 {
			what += fmt.Sprintf("  sent %s, received %s in %s", bytesText(n.BytesOut), bytesText(n.BytesIn), span(n.Duration))
		}
		if n.Retrans > 0 {
			what += fmt.Sprintf(", %d sent again", n.Retrans)
		}
	case event.KindNetRaw:
		what = event.Safe(n.Family) + " " + event.Safe(n.Type) + " socket " + event.Safe(n.Protocol)
		if n.Interface != 0 {
			what += fmt.Sprintf(" on interface %d", n.Interface)
		}
	case event.KindUnixConnect:
		what = "connect unix " + n.Path.String()
	}
	return what, noteOf(n.Result, map[string]bool{"was there before": n.Seeded})
}

func describeDNS(d *event.DNS) (what, note string) {
	what = map[bool]string{true: "answer ", false: "query "}[d.Response] + event.Safe(d.Type) + " " + d.Name.String()
	if d.Response {
		what += " " + event.Safe(d.Code)
		if len(d.Answers) > 0 {
			what += ": " + answers(d)
		}
	}
	return what, noteOf(0, map[string]bool{
		event.Safe(d.Flavour): d.Flavour != "" && d.Flavour != "dns", "truncated": d.Truncated, "cut": d.Cut,
		"malformed: " + event.Safe(d.Malformed): d.Malformed != "", event.Safe(d.Opcode): d.Opcode != "",
	})
}

// answers lists what the answer section says, without the names.
func answers(d *event.DNS) string {
	var list []string
	for i, a := range d.Answers {
		if i == 8 {
			list = append(list, "…")
			break
		}
		text := a.Data.String()
		if a.Type != d.Type {
			text = event.Safe(a.Type) + " " + text
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}
