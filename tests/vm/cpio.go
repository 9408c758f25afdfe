package vm

import (
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

// File is one entry of an initramfs. Regular files take their content from
// Host, a path on this machine, or else from Data; symbolic links point to
// Data.
type File struct {
	Mode uint32 // type and permission bits as in stat(2)
	UID  uint32
	Data []byte
	Host string
	Dev  [2]uint32 // major and minor of a device node
}

// The file types of Mode.
const (
	typeMask = 0o170000
	typeReg  = 0o100000
	typeDir  = 0o040000
	typeChr  = 0o020000
	typeLink = 0o120000
)

// Tree is the content of an initramfs: names relative to its root. Folders
// above a file need no entry of their own.
type Tree map[string]File

// AddHost puts a file of this machine into the tree.
func (t Tree) AddHost(name, host string, perm uint32) {
	t[name] = File{Mode: typeReg | perm, Host: host}
}

// AddData puts bytes into the tree as a file.
func (t Tree) AddData(name string, data []byte, perm uint32) {
	t[name] = File{Mode: typeReg | perm, Data: data}
}

// AddDir puts a folder into the tree.
func (t Tree) AddDir(name string, perm uint32) { t[name] = File{Mode: typeDir | perm} }

// AddDevice puts a character device into the tree.
func (t Tree) AddDevice(name string, perm, major, minor uint32) {
	t[name] = File{Mode: typeChr | perm, Dev: [2]uint32{major, minor}}
}

// WriteCPIO writes the tree in the "newc" format that the kernel unpacks
// (Documentation/driver-api/early-userspace/buffer-format.rst): sorted by
// name, with the folders that are missing, owned by root, without times. It is
// not compressed: under TCG unpacking costs more than the bytes do.
func (t Tree) WriteCPIO(w io.Writer) error {
	c := &cpioWriter{w: w}
	for _, name := range t.names() {
		f, ok := t[name]
		if !ok {
			f = File{Mode: typeDir | 0o755}
		}
		if err := c.file(name, f); err != nil {
			return fmt.Errorf("write initramfs: %s: %w", name, err)
		}
	}
	if err := c.entry("TRAILER!!!", File{}, 0); err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	return nil
}

// names lists every entry and every folder above one, parents first.
func (t Tree) names() []string {
	seen := map[string]bool{}
	for name := range t {
		for n := name; n != "." && n != "/"; n = path.Dir(n) {
			seen[n] = true
		}
	}
	all := make([]string, 0, len(seen))
	for n := range seen {
		all = append(all, n)
	}
	slices.Sort(all)
	return all
}

type cpioWriter struct {
	w      io.Writer
	offset int64
	inode  uint32
}

func (c *cpioWriter) file(name string, f File) error {
	if strings.HasPrefix(name, "/") || path.Clean(name) != name {
		return fmt.Errorf("name is not clean and relative")
	}
	if f.Host == "" {
		if err := c.entry(name, f, int64(len(f.Data))); err != nil {
			return err
		}
		return c.body(f.Data)
	}
	h, err := os.Open(f.Host)
	if err != nil {
		return err
	}
	defer h.Close()
	st, err := h.Stat()
	if err != nil {
		return err
	}
	if err := c.entry(name, f, st.Size()); err != nil {
		return err
	}
	n, err := io.Copy(c.w, io.LimitReader(h, st.Size()))
	c.offset += n
	if err == nil && n != st.Size() {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	return c.pad()
}

func (c *cpioWriter) entry(name string, f File, size int64) error {
	if size > 1<<32-1 {
		return fmt.Errorf("%d bytes are more than newc can hold", size)
	}
	c.inode++
	links := 1
	if f.Mode&typeMask == typeDir {
		links = 2
	}
	head := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.inode, f.Mode, f.UID, f.UID, links, 0, size, 0, 0, f.Dev[0], f.Dev[1], len(name)+1, 0, name)
	return c.body([]byte(head))
}

func (c *cpioWriter) body(b []byte) error {
	n, err := c.w.Write(b)
	c.offset += int64(n)
	if err != nil {
		return err
	}
	return c.pad()
}

func (c *cpioWriter) pad() error {
	n, err := c.w.Write(make([]byte, -c.offset&3))
	c.offset += int64(n)
	return err
}
