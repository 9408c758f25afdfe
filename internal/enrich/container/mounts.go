package container

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/merlon/merlon/internal/event"
)

// Mount is a mounted cgroup hierarchy.
type Mount struct {
	Path      string // where it is mounted
	Root      string // the cgroup that is mounted there, "/" for the whole hierarchy
	Hierarchy uint32 // its number, 0 for v2
}

// hierarchy returns the controller and number of the v1 hierarchy to follow,
// 0 when all controllers are on v2 (/proc/cgroups, cgroups(7)).
func hierarchy(proc string) (controller string, number uint32) {
	b, err := os.ReadFile(filepath.Join(proc, "cgroups"))
	if err != nil {
		return "", 0
	}
	numbers := make(map[string]uint32)
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 || strings.HasPrefix(line, "#") {
			continue
		}
		if n, err := strconv.ParseUint(f[1], 10, 32); err == nil {
			numbers[f[0]] = uint32(n)
		}
	}
	for _, c := range event.CgroupV1Controllers() {
		if numbers[c] != 0 {
			return c, numbers[c]
		}
	}
	return "", 0
}

// Mounts lists where the v2 hierarchy and the followed v1 hierarchy are
// mounted, whole hierarchies first. proc is a mounted proc filesystem.
func Mounts(proc string) ([]Mount, error) {
	f, err := os.Open(filepath.Join(proc, "self/mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	defer f.Close()
	controller, number := hierarchy(proc)
	var mounts []Mount
	for in := bufio.NewScanner(f); in.Scan(); {
		m, fstype, options, ok := parseMount(in.Text())
		switch {
		case !ok:
		case fstype == "cgroup2":
			mounts = append(mounts, m)
		case fstype == "cgroup" && number != 0 && slices.Contains(strings.Split(options, ","), controller):
			m.Hierarchy = number
			mounts = append(mounts, m)
		}
	}
	slices.SortStableFunc(mounts, func(a, b Mount) int { return len(a.Root) - len(b.Root) })
	return mounts, nil
}

// parseMount reads one line of mountinfo (proc(5)).
func parseMount(line string) (m Mount, fstype, options string, ok bool) {
	left, right, ok := strings.Cut(line, " - ")
	l, r := strings.Fields(left), strings.Fields(right)
	if !ok || len(l) < 5 || len(r) < 1 {
		return m, "", "", false
	}
	if len(r) >= 3 {
		options = r[2]
	}
	return Mount{Path: unescape(l[4]), Root: unescape(l[3])}, r[0], options, true
}

// unescape undoes mountinfo's \ooo.
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

// dir returns the directory of a cgroup path of m's hierarchy, "" when m does
// not show it.
func (m Mount) dir(path string) string {
	if m.Root == "/" {
		return filepath.Join(m.Path, path)
	}
	if rest, ok := strings.CutPrefix(path, m.Root); ok && (rest == "" || rest[0] == '/') {
		return filepath.Join(m.Path, rest)
	}
	return ""
}

// inode returns the id of a cgroup: the inode number of its directory
// (kernel/cgroup/cgroup.c, cgroup_id; fs/kernfs, kernfs_ino).
func inode(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}

// errFull ends a scan that has found as many cgroups as may be held.
var errFull = errors.New("more cgroups than may be held")

// Scan learns every cgroup below the mounts. Call it before the first Enrich,
// or from the goroutine that calls Enrich.
func (e *Enricher) Scan(ctx context.Context, mounts []Mount) error {
	for _, m := range mounts {
		if m.Hierarchy == 0 && e.v2 == nil {
			e.v2 = &m
		} else if m.Hierarchy != 0 && e.v1 == nil {
			e.v1 = &m
		}
		if err := e.scan(ctx, m); err != nil {
			return fmt.Errorf("scan cgroups in %s: %w", m.Path, err)
		}
	}
	return nil
}

func (e *Enricher) scan(ctx context.Context, m Mount) error {
	return filepath.WalkDir(m.Path, func(at string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && at == m.Path:
			return err
		case err != nil || !d.IsDir():
			return nil // gone meanwhile
		case len(e.known) >= e.opt.Limit:
			return errFull
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		path := filepath.Join(m.Root, strings.TrimPrefix(at, m.Path))
		if id := inode(info); id != 0 {
			e.put(key{id, m.Hierarchy != 0}, path)
		}
		return nil
	})
}
