package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The generated pages are committed; this tells when they are out of date.
func TestGeneratedPages(t *testing.T) {
	e := &env{out: newPrinter(os.Stdout)}
	for name, write := range pages(newRoot(e)) {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		have, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(have, b.Bytes()) {
			t.Errorf("docs/%s is out of date: run `make docs`", name)
		}
	}
}
