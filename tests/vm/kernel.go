package vm

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// fresh is how long a kernel is taken from the cache without asking the
// mirror for a newer one.
const fresh = 7 * 24 * time.Hour

// Image is a kernel on this machine, ready to boot.
type Image struct {
	Package string    `json:"package"` // Debian's name, which has the release in it
	Version string    `json:"version"`
	Dir     string    `json:"dir"`     // holds vmlinuz and the modules
	Modules []string  `json:"modules"` // file names in Dir, in loading order
	Checked time.Time `json:"checked"` // when the mirror was asked last
}

// Kernel is the path of the kernel itself.
func (i *Image) Kernel() string { return filepath.Join(i.Dir, "vmlinuz") }

// Fetch returns the newest kernel of k's suite, with the modules of Modules
// and what they need. It downloads from the mirror that this machine's apt
// uses, at most once a week; when the mirror fails it takes the kernel it has.
func Fetch(ctx context.Context, k Kernel) (*Image, error) {
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "kernels", k.Arch+"-"+k.Suite)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("fetch kernel: %w", err)
	}
	unlock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()

	known := filepath.Join(dir, "image-"+modulesKey()+".json")
	var have Image
	if err := readJSON(known, &have); err != nil || !complete(&have) {
		have = Image{}
	}
	if have.Dir != "" && time.Since(have.Checked) < fresh {
		return &have, nil
	}
	got, err := download(ctx, k, dir)
	if err != nil && have.Dir != "" && ctx.Err() == nil {
		return &have, nil
	}
	if err != nil {
		return nil, fmt.Errorf("fetch kernel %s: %w", k.Name, err)
	}
	if have.Dir != "" && have.Dir != got.Dir {
		_ = os.RemoveAll(have.Dir) // a leftover only costs disk
	}
	return got, writeJSON(known, got)
}

// modulesKey changes with the list of modules: another list, another image.
func modulesKey() string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(Modules(), " "))))[:8]
}

func complete(i *Image) bool {
	for _, name := range append([]string{"vmlinuz"}, i.Modules...) {
		if _, err := os.Stat(filepath.Join(i.Dir, name)); err != nil {
			return false
		}
	}
	return i.Dir != ""
}

func download(ctx context.Context, k Kernel, dir string) (*Image, error) {
	a, err := openArchive(ctx, filepath.Join(dir, "apt"), k.Arch, k.Suite)
	if err != nil {
		return nil, err
	}
	name, version, err := a.dependency(ctx, "linux-image-cloud-"+k.Arch, "linux-image-")
	if err != nil {
		return nil, err
	}
	image := &Image{
		Package: name, Version: version, Checked: time.Now().UTC(),
		Dir: filepath.Join(dir, strings.ReplaceAll(version, ":", "_")+"-"+modulesKey()),
	}
	tmp, err := os.MkdirTemp(dir, "unpack-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	if err := a.unpack(ctx, name, version, tmp); err != nil {
		return nil, err
	}
	ready := filepath.Join(tmp, "ready")
	if image.Modules, err = pick(ctx, tmp, ready); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := os.RemoveAll(image.Dir); err != nil {
		return nil, err
	}
	return image, os.Rename(ready, image.Dir)
}

// pick copies what a machine needs of an unpacked kernel package.
func pick(ctx context.Context, unpacked, ready string) ([]string, error) {
	if err := os.Mkdir(ready, 0o755); err != nil {
		return nil, err
	}
	kernels, err := filepath.Glob(filepath.Join(unpacked, "boot", "vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return nil, fmt.Errorf("pick files: %d kernels in the package", len(kernels))
	}
	if err := os.Rename(kernels[0], filepath.Join(ready, "vmlinuz")); err != nil {
		return nil, err
	}
	all := map[string]string{} // module name to path
	err = filepath.WalkDir(unpacked, func(path string, d fs.DirEntry, err error) error {
		if name, ok := moduleName(path); ok && err == nil && d.Type().IsRegular() {
			all[name] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("pick modules: %w", err)
	}
	return collectModules(ctx, all, Modules(), ready)
}
