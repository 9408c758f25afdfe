// Package fields reads the tags of Merlon's nouns: it is what filters, the
// field reference and other generated mappings are made from.
package fields

import (
	"reflect"
	"strings"
	"time"

	"github.com/merlon/merlon/internal/event"
)

// Field is one field of a noun.
type Field struct {
	Name   string // in JSON and in filters
	Index  int    // in the Go struct; Ancestors for the one that has none
	Go     reflect.Type
	Doc    string
	Source string // kernel, user or merlon
	JSON   bool   // written to JSON under that name
}

// Ancestors is the Index of Process's list of ancestors, which is made from
// its parents.
const Ancestors = -1

var processType = reflect.TypeFor[event.Process]()

// Of lists the fields of the struct type t, in order. A field that neither
// JSON nor filters show is left out.
func Of(t reflect.Type) []Field {
	list := make([]Field, 0, t.NumField()+1)
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		json := name != "-" && name != ""
		if !json {
			name = f.Tag.Get("cel")
		}
		if name == "" || !f.IsExported() {
			continue
		}
		list = append(list, Field{Name: name, Index: i, Go: f.Type, Doc: f.Tag.Get("doc"), Source: f.Tag.Get("source"), JSON: json})
	}
	if t == processType {
		list = append(list, Field{Name: "ancestors", Index: Ancestors, Go: reflect.TypeFor[[]*event.Process](), Source: "merlon",
			Doc: "in filters: parent, grandparent and so on to the first known process; in JSON, short forms of those above the parent"})
	}
	return list
}

// Struct returns the struct type behind t: t itself, or what its pointer or
// slice leads to; nil when there is none, or when it is a time.
func Struct(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[time.Time]() {
		return nil
	}
	return t
}

// Structs lists root and every struct type reachable from it, each once, in
// the order of the fields that first lead to them.
func Structs(root reflect.Type) []reflect.Type {
	list, seen := []reflect.Type{root}, map[reflect.Type]bool{root: true}
	for i := 0; i < len(list); i++ {
		for _, f := range Of(list[i]) {
			if t := Struct(f.Go); t != nil && !seen[t] {
				seen[t] = true
				list = append(list, t)
			}
		}
	}
	return list
}

// TypeName says in a word what a field of type t holds in JSON and filters.
func TypeName(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Time]():
		return "timestamp"
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[event.CapSet]():
		return "capabilities"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return TypeName(t.Elem())
	case reflect.Slice:
		return "list of " + TypeName(t.Elem())
	case reflect.Struct:
		return t.Name()
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "bool"
	}
	return "int"
}
