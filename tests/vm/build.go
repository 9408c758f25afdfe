package vm

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Module is the import path of this repository.
const Module = "github.com/merlon/merlon"

// Builder cross-builds static binaries of this repository.
type Builder struct {
	Root string // the repository
	Arch string // GOARCH
	Out  string // folder for the binaries, of one run only
}

// NewBuilder makes a builder for an architecture that writes into a folder.
func NewBuilder(ctx context.Context, arch, out string) (*Builder, error) {
	mod, err := output(ctx, "", "go", "env", "GOMOD")
	if err != nil {
		return nil, fmt.Errorf("find the repository: %w", err)
	}
	root := filepath.Dir(strings.TrimSpace(mod))
	if _, err := os.Stat(filepath.Join(root, "tests", "vm")); err != nil {
		return nil, fmt.Errorf("find the repository: run this inside of it: %w", err)
	}
	return &Builder{Root: root, Arch: arch, Out: out}, nil
}

func (b *Builder) build(ctx context.Context, pkg, suffix string, command ...string) (string, error) {
	file := filepath.Join(b.Out, b.Arch+"-"+strings.ReplaceAll(pkg, "/", "-")+suffix)
	args := append([]string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + b.Arch, "go"}, command...)
	args = append(args, "-ldflags=-w", "-o", file, "./"+pkg)
	if _, err := output(ctx, b.Root, "env", args...); err != nil {
		return "", fmt.Errorf("build %s for %s: %w", pkg, b.Arch, err)
	}
	return file, nil
}

// Command builds package main in a folder of the repository and returns the
// binary's path.
func (b *Builder) Command(ctx context.Context, pkg string) (string, error) {
	return b.build(ctx, pkg, "", "build")
}

// Test builds the test binary of a package.
func (b *Builder) Test(ctx context.Context, pkg string) (string, error) {
	file, err := b.build(ctx, pkg, ".test", "test", "-c")
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(file); err != nil {
		return "", fmt.Errorf("build %s for %s: it has no tests", pkg, b.Arch)
	}
	return file, nil
}

// AddTestdata puts the testdata folder of a package into the tree, under dir.
func (b *Builder) AddTestdata(t Tree, pkg, dir string) error {
	root := filepath.Join(b.Root, pkg, "testdata")
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err == nil {
			t.AddHost(path.Join(dir, "testdata", filepath.ToSlash(rel)), name, 0o644)
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("add testdata of %s: %w", pkg, err)
	}
	return nil
}
