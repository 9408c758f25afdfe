package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
)

// field is one key of the tree.
type field struct {
	path  string // like log.level
	name  string // its last part
	doc   string
	tag   reflect.StructTag
	value reflect.Value
}

func (f field) section() bool {
	_, scalar := f.value.Addr().Interface().(encoding.TextUnmarshaler)
	return f.value.Kind() == reflect.Struct && !scalar
}

// fields lists the keys of the struct v, whose own path is prefix.
func fields(v reflect.Value, prefix string) []field {
	t := v.Type()
	list := make([]field, 0, t.NumField())
	for i := range t.NumField() {
		sf := t.Field(i)
		name := sf.Tag.Get("key")
		path := name
		if prefix != "" {
			path = prefix + "." + name
		}
		list = append(list, field{path: path, name: name, doc: sf.Tag.Get("doc"), tag: sf.Tag, value: v.Field(i)})
	}
	return list
}

// walk calls visit for every key of the tree, sections before their keys.
func (c *Config) walk(visit func(f field, depth int)) {
	var down func(v reflect.Value, prefix string, depth int)
	down = func(v reflect.Value, prefix string, depth int) {
		for _, f := range fields(v, prefix) {
			visit(f, depth)
			if f.section() {
				down(f.value, f.path, depth+1)
			}
		}
	}
	down(reflect.ValueOf(c).Elem(), "", 0)
}

// typeName says in words what a key wants.
func (f field) typeName() string {
	switch f.value.Interface().(type) {
	case Size:
		return "a size like 4MiB"
	case Duration:
		return "a duration like 30s"
	case string:
		if of := f.tag.Get("oneof"); of != "" {
			return "one of " + strings.Join(strings.Fields(of), ", ")
		}
		return "a string"
	case bool:
		return "true or false"
	case int:
		return "a whole number"
	case []uint32:
		return "a list of numbers like [0, 1000]"
	case []string:
		return `a list of strings like ["a", "b"]`
	}
	return "a section of keys"
}

// scalarText writes a value as YAML.
func scalarText(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case string:
		return quote(x)
	case []string:
		q := make([]string, len(x))
		for i, s := range x {
			q[i] = quote(s)
		}
		return "[" + strings.Join(q, ", ") + "]"
	case []uint32:
		return strings.ReplaceAll(fmt.Sprint(x), " ", ", ")
	}
	return fmt.Sprint(v.Interface())
}

// quote writes s plainly where YAML reads it back as the same string.
func quote(s string) string {
	plain := s != "" && s != "true" && s != "false" && s != "null"
	for i, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '/' || r == '_'
		if !letter && (i == 0 || !(r >= '0' && r <= '9' || r == '.' || r == '-')) {
			plain = false
		}
	}
	if plain && len(s) > 3 {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r < 0x20 || r >= 0x7f && r < 0xa0:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r == '\u2028' || r == '\u2029' || r == '\ufeff':
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}
