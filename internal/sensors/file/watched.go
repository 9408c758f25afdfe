package file

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// watchSet is what the programs are told of watched paths: inodes with their
// flags, and names in directories.
type watchSet struct {
	inodes map[fileWatchKey]uint32
	names  map[fileNameKey]struct{}
}

// Watch implements contract.PathWatcher. A path is found by the inode that it
// names now, and by its name in the directory that it is in now: a file that
// replaces it by a rename is watched at once. What lies below a directory is
// found by the directory's inode, in any mount namespace.
func (s *Sensor) Watch(_ context.Context, paths []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paths = append([]string(nil), paths...)
	s.notes.watch(s.paths)
	return s.tellWatched()
}

// refresh looks the watched paths up again: files and directories come and go.
func (s *Sensor) refresh() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.paths) == 0 {
		return nil
	}
	return s.tellWatched()
}

func (s *Sensor) tellWatched() error {
	if s.unit == nil {
		return nil
	}
	if m := s.unit.Map(fileMapFileWatch); m == nil {
		return nil // nothing that is loaded looks at opens
	}
	set, err := resolve(s.paths)
	if err != nil {
		return err
	}
	err = errors.Join(
		syncMap(s.unit.Map(fileMapFileNames), s.told.names, set.names, func(struct{}) uint32 { return 1 }),
		syncMap(s.unit.Map(fileMapFileWatch), s.told.inodes, set.inodes, func(f uint32) uint32 { return f }))
	s.told = set
	if err != nil {
		return fmt.Errorf("tell file programs the watched paths: %w", err)
	}
	return s.configure()
}

// syncMap makes a map hold what want does, given what it held.
func syncMap[K, V comparable](m *ebpf.Map, had, want map[K]V, value func(V) uint32) error {
	var errs []error
	for k, v := range want {
		if old, ok := had[k]; !ok || old != v {
			errs = append(errs, m.Put(&k, value(v)))
		}
	}
	for k := range had {
		if _, ok := want[k]; ok {
			continue
		}
		if err := m.Delete(&k); !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// resolve looks paths up. One that does not exist is watched by its name, if
// its directory does.
func resolve(paths []string) (watchSet, error) {
	set := watchSet{inodes: make(map[fileWatchKey]uint32), names: make(map[fileNameKey]struct{})}
	devs, err := mountDevs()
	if err != nil {
		return set, err
	}
	for _, p := range paths {
		if strings.HasSuffix(p, "/") {
			if k, err := inodeKey(p, devs); err == nil {
				set.inodes[k] |= uint32(fileWatchFlagWATCH_BELOW)
			}
			continue
		}
		if k, err := inodeKey(p, devs); err == nil {
			set.inodes[k] |= uint32(fileWatchFlagWATCH_SELF)
		}
		k, err := inodeKey(filepath.Dir(p), devs)
		name := filepath.Base(p)
		if err != nil || len(name) >= len(fileNameKey{}.Name) {
			continue // longer names: by the inode alone
		}
		set.inodes[k] |= uint32(fileWatchFlagWATCH_NAMES)
		nk := fileNameKey{Dir: k}
		for i := range name {
			nk.Name[i] = int8(name[i])
		}
		set.names[nk] = struct{}{}
	}
	return set, nil
}

// inodeKey identifies a file as the programs do: by the super block's device,
// which stat(2) does not tell on every file system (btrfs, overlay).
func inodeKey(path string, devs map[uint64]uint32) (fileWatchKey, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_INO|unix.STATX_MNT_ID, &st); err != nil {
		return fileWatchKey{}, fmt.Errorf("look up %s: %w", path, err)
	}
	dev, ok := devs[st.Mnt_id]
	if !ok {
		dev = st.Dev_major<<20 | st.Dev_minor
	}
	return fileWatchKey{Ino: st.Ino, Dev: dev}, nil
}

// mountDevs returns the devices of our mounts by mount id.
func mountDevs() (map[uint64]uint32, error) {
	mounts, err := readMounts("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	devs := make(map[uint64]uint32, len(mounts))
	for id, m := range mounts {
		devs[id] = m.dev
	}
	return devs, nil
}
