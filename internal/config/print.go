package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// Print writes c as YAML, each key under a comment that explains it. What it
// writes decodes to c again.
func (c *Config) Print(w io.Writer) error {
	var b strings.Builder
	c.walk(func(f field, depth int) {
		indent := strings.Repeat("  ", depth)
		if depth == 0 && b.Len() > 0 {
			b.WriteByte('\n')
		}
		for _, line := range wrap(f.doc, 96-len(indent)) {
			fmt.Fprintf(&b, "%s# %s\n", indent, line)
		}
		if f.section() {
			fmt.Fprintf(&b, "%s%s:\n", indent, f.name)
			return
		}
		if of := f.tag.Get("oneof"); of != "" {
			fmt.Fprintf(&b, "%s# one of %s\n", indent, strings.Join(strings.Fields(of), ", "))
		}
		fmt.Fprintf(&b, "%s%s: %s\n", indent, f.name, scalarText(f.value))
	})
	_, err := io.WriteString(w, b.String())
	return err
}

// MarshalJSON writes the tree under the names of its keys, in their order.
func (c *Config) MarshalJSON() ([]byte, error) { return marshal(reflect.ValueOf(c).Elem()) }

func marshal(v reflect.Value) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range fields(v, "") {
		if i > 0 {
			b.WriteByte(',')
		}
		value, err := []byte(nil), error(nil)
		switch x := f.value.Interface().(type) {
		case Size, Duration:
			value, err = json.Marshal(fmt.Sprint(x))
		default:
			if f.section() {
				value, err = marshal(f.value)
			} else if f.value.Kind() == reflect.Slice && f.value.Len() == 0 {
				value = []byte("[]")
			} else {
				value, err = json.Marshal(x)
			}
		}
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%q:%s", f.name, value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// Reference writes the keys as a Markdown table, for docs/config.md.
func Reference(w io.Writer) error {
	var b strings.Builder
	b.WriteString("| key | default | type | meaning |\n|---|---|---|---|\n")
	Default().walk(func(f field, _ int) {
		if f.section() {
			fmt.Fprintf(&b, "| **%s** | | | %s |\n", f.path, f.doc)
			return
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", f.path, scalarText(f.value), f.typeName(), f.doc)
	})
	_, err := io.WriteString(w, b.String())
	return err
}

// wrap breaks text into lines of at most width bytes.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
