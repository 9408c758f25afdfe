// Command page writes docs/kernels.md from what the VM matrix learnt: run it
// after `go test ./tests/vm`, in the repository's root.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/merlon/merlon/tests/vm"
)

func main() {
	file := flag.String("o", "docs/kernels.md", "file to write")
	flag.Parse()
	if err := run(*file); err != nil {
		fmt.Fprintf(os.Stderr, "page: %v\n", err)
		os.Exit(1)
	}
}

func run(file string) error {
	facts, err := vm.LoadFacts()
	if err != nil {
		return err
	}
	var missing []string
	for _, f := range facts {
		if f.Release == "" {
			missing = append(missing, f.Kernel)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("no results of %s: run first: go test ./tests/vm", strings.Join(missing, ", "))
	}
	if err := os.WriteFile(file, []byte(Render(vm.Kernels(), facts)), 0o644); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}
