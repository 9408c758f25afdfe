package archtest

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

const (
	spdx    = "SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)"
	license = "Dual BSD/GPL" // the kernel's word for it: include/linux/license.h
	maxName = 15             // BPF_OBJ_NAME_LEN less the final NUL: include/uapi/linux/bpf.h
)

// checkC returns what is wrong with a C source or header.
func checkC(name string, content []byte) []string {
	var bad []string
	lines := strings.Split(string(content), "\n")
	if n := len(lines) - 1; n > maxLines {
		bad = append(bad, fmt.Sprintf("%s: %d lines, at most %d", name, n, maxLines))
	}
	if head := strings.Join(lines[:min(3, len(lines))], "\n"); !strings.Contains(head, spdx) {
		bad = append(bad, fmt.Sprintf("%s: no %q in its first 3 lines", name, spdx))
	}
	if strings.HasSuffix(name, ".c") && lines[0] != "//go:build ignore" {
		bad = append(bad, name+`: first line is not "//go:build ignore"`)
	}
	if strings.HasSuffix(name, ".bpf.c") && !strings.Contains(string(content), `"`+license+`"`) {
		bad = append(bad, fmt.Sprintf("%s: no license string %q", name, license))
	}
	if strings.HasPrefix(name, "bpf/") && strings.Contains(string(content), "\nSEC(\"license\")") {
		bad = append(bad, name+": programs do not live in bpf/, only what they share")
	}
	return bad
}

// checkObject returns what is wrong with a compiled BPF object.
func checkObject(name string, r io.ReaderAt) []string {
	f, err := elf.NewFile(r)
	if err != nil {
		return []string{fmt.Sprintf("%s: %v", name, err)}
	}
	var bad []string
	if s := f.Section("license"); s == nil {
		bad = append(bad, name+": no license section")
	} else if data, err := s.Data(); err != nil || string(bytes.TrimRight(data, "\x00")) != license {
		bad = append(bad, fmt.Sprintf("%s: license is %q, want %q", name, data, license))
	}
	syms, err := f.Symbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return append(bad, fmt.Sprintf("%s: %v", name, err))
	}
	for _, s := range syms {
		if int(s.Section) <= 0 || int(s.Section) >= len(f.Sections) || len(s.Name) <= maxName {
			continue
		}
		sec := f.Sections[s.Section]
		switch typ := elf.ST_TYPE(s.Info); {
		case sec.Name == ".maps" && typ == elf.STT_OBJECT:
			bad = append(bad, fmt.Sprintf("%s: map %s: over %d characters, the kernel cuts it", name, s.Name, maxName))
		case typ == elf.STT_FUNC && sec.Name != ".text" && elf.ST_BIND(s.Info) == elf.STB_GLOBAL:
			bad = append(bad, fmt.Sprintf("%s: program %s: over %d characters, the kernel cuts it", name, s.Name, maxName))
		}
	}
	return bad
}

// checkTargets returns the BPF sources without committed objects for both
// architectures beside them. paths are all files of the tree.
func checkTargets(paths []string) []string {
	objects := map[string]map[string]bool{} // folder → architecture
	for _, p := range paths {
		for _, arch := range []string{"x86", "arm64"} {
			if strings.HasSuffix(p, "_"+arch+"_bpfel.o") {
				dir := path.Dir(p)
				if objects[dir] == nil {
					objects[dir] = map[string]bool{}
				}
				objects[dir][arch] = true
			}
		}
	}
	var bad []string
	for _, p := range paths {
		if !strings.HasSuffix(p, ".bpf.c") {
			continue
		}
		for _, arch := range []string{"x86", "arm64"} {
			if !objects[path.Dir(p)][arch] {
				bad = append(bad, fmt.Sprintf("%s: no committed object for %s beside it: make bpf", p, arch))
			}
		}
	}
	return bad
}
