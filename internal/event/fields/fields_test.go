package fields

import (
	"reflect"
	"testing"

	"github.com/merlon/merlon/internal/event"
)

// Every field that a person can meet is described, and no two share a name.
func TestTagsAreComplete(t *testing.T) {
	types := append(Structs(reflect.TypeFor[event.Event]()), reflect.TypeFor[event.Rule](), reflect.TypeFor[event.Alert](), reflect.TypeFor[event.Evidence]())
	for _, st := range types {
		names := map[string]bool{}
		for _, f := range Of(st) {
			if names[f.Name] {
				t.Errorf("%s has two fields %s", st.Name(), f.Name)
			}
			names[f.Name] = true
			if f.Doc == "" {
				t.Errorf("%s.%s has no doc tag", st.Name(), f.Name)
			}
			if f.Source != "kernel" && f.Source != "user" && f.Source != "merlon" {
				t.Errorf("%s.%s: source is %q", st.Name(), f.Name, f.Source)
			}
		}
	}
}

func TestStructs(t *testing.T) {
	var names []string
	for _, st := range Structs(reflect.TypeFor[event.Event]()) {
		names = append(names, st.Name())
	}
	for _, want := range []string{"Event", "Process", "Exec", "Creds", "Socket", "Loss", "Key"} {
		found := false
		for _, n := range names {
			found = found || n == want
		}
		if !found {
			t.Errorf("%s is missing in %v", want, names)
		}
	}
}

func TestTypeName(t *testing.T) {
	for _, f := range Of(reflect.TypeFor[event.Exec]()) {
		want := map[string]string{"filename": "string", "args": "list of string", "fds": "list of FD", "creds_before": "Creds", "args_bytes": "int"}[f.Name]
		if want != "" && TypeName(f.Go) != want {
			t.Errorf("%s is %q, want %q", f.Name, TypeName(f.Go), want)
		}
	}
}
