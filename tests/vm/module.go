package vm

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// moduleName is what the kernel calls the module in a file: without the
// suffixes, with _ for - (module names in modinfo's depends= have neither).
func moduleName(path string) (string, bool) {
	base := strings.TrimSuffix(filepath.Base(path), ".xz")
	name, ok := strings.CutSuffix(base, ".ko")
	return strings.ReplaceAll(name, "-", "_"), ok && name != ""
}

// collectModules copies the modules wanted, and before each the ones it
// depends on, into a folder and returns their file names in loading order.
// What all doesn't have is built into the kernel.
func collectModules(ctx context.Context, all map[string]string, wanted []string, into string) ([]string, error) {
	var order []string
	done := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		path, isModule := all[name]
		if done[name] || !isModule {
			return nil
		}
		done[name] = true
		file := name + ".ko"
		if err := copyModule(ctx, path, filepath.Join(into, file)); err != nil {
			return fmt.Errorf("unpack module %s: %w", name, err)
		}
		needs, err := moduleDepends(filepath.Join(into, file))
		if err != nil {
			return fmt.Errorf("read module %s: %w", name, err)
		}
		for _, n := range needs {
			if err := add(n); err != nil {
				return err
			}
		}
		order = append(order, file)
		return nil
	}
	for _, name := range wanted {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// copyModule unpacks xz here: not every kernel of the matrix can.
func copyModule(ctx context.Context, from, to string) error {
	if !strings.HasSuffix(from, ".xz") {
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o644)
	}
	if _, err := exec.LookPath("xz"); err != nil {
		return errors.New("no xz on this machine: install it with: sudo apt-get install --no-install-recommends xz-utils")
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	var complaint bytes.Buffer
	c := exec.CommandContext(ctx, "xz", "-dc", from)
	c.Stdout, c.Stderr = out, &complaint
	err = c.Run()
	if closed := out.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("xz: %w: %s", err, lastLines(complaint.String(), 1))
	}
	return nil
}

// moduleDepends reads the depends= entry of the .modinfo section: names,
// separated by commas, among entries that end with a NUL.
func moduleDepends(file string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return nil, fmt.Errorf("no .modinfo section: not a kernel module")
	}
	b, err := s.Data()
	if err != nil {
		return nil, err
	}
	return parseDepends(b), nil
}

func parseDepends(modinfo []byte) []string {
	for _, entry := range bytes.Split(modinfo, []byte{0}) {
		list, ok := bytes.CutPrefix(entry, []byte("depends="))
		if !ok || len(list) == 0 {
			continue
		}
		names := strings.Split(string(list), ",")
		for i, n := range names {
			names[i] = strings.ReplaceAll(n, "-", "_")
		}
		return names
	}
	return nil
}
