package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/filter"
)

type traceFlags struct {
	list   bool
	count  int
	filter string
	comm   string
	pid    uint32
	paths  []string
}

// check tells the first mistake of the flags.
func (f *traceFlags) check(spec *traceSpec) error {
	if f.count < 0 {
		return errors.New("-n is a number from 0")
	}
	if len(f.paths) > 0 && !slices.Contains(spec.kinds, event.KindFileOpen) {
		return fmt.Errorf("--path is about files that are opened, which %s doesn't show; `merlon trace opens` does", event.Safe(spec.name))
	}
	for _, p := range f.paths {
		if err := checkPath(p); err != nil {
			return err
		}
	}
	if f.filter == "" {
		return nil
	}
	// By itself: the mistake stands where the user typed it.
	c, err := filter.NewCompiler()
	if err != nil {
		return err
	}
	_, err = c.Compile(f.filter)
	return err
}

// checkPath wants a path as the agent does: whole, and without detours.
func checkPath(p string) error {
	whole, err := filepath.Abs(p)
	if err != nil || p == "" {
		return fmt.Errorf("--path %q is not a path from the root, like /etc/", event.Safe(p))
	}
	if strings.HasSuffix(p, "/") && whole != "/" {
		whole += "/"
	}
	if p != whole {
		return fmt.Errorf("--path %q is not a whole path; did you mean %s?", event.Safe(p), event.Safe(whole))
	}
	return nil
}

// missing returns the paths at which there is nothing that can be read.
func (f *traceFlags) missing() []string {
	var list []string
	for _, p := range f.paths {
		if _, err := os.Stat(p); errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			list = append(list, p)
		}
	}
	return list
}

// expression is the CEL expression of the flags.
func (f *traceFlags) expression() string {
	var parts []string
	if f.filter != "" {
		parts = append(parts, "("+f.filter+"\n)") // a comment ends with its line
	}
	if f.pid != 0 {
		parts = append(parts, fmt.Sprintf("(process.pid == %d || thread.pid == %d)", f.pid, f.pid))
	}
	if f.comm != "" {
		parts = append(parts, fmt.Sprintf("(process.comm == %s || thread.comm == %s)", celString(f.comm), celString(f.comm)))
	}
	return strings.Join(parts, " && ")
}

// celString writes s as a string of CEL.
func celString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`).Replace(s) + `"`
}
