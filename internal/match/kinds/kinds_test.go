package kinds

import (
	"slices"
	"strings"
	"testing"

	"github.com/merlon/merlon/internal/event"
)

func TestExpand(t *testing.T) {
	for _, c := range []struct {
		words []string
		want  []event.Kind
	}{
		{nil, nil},
		{[]string{"exec"}, []event.Kind{event.KindExec}},
		{[]string{"exit, fork", "exit"}, []event.Kind{event.KindFork, event.KindExit}},
		{[]string{"*mount"}, []event.Kind{event.KindMount, event.KindUmount}},
		{[]string{"file_chmo?", "loss"}, []event.Kind{event.KindFileChmod, event.KindLoss}},
		{[]string{"task"}, []event.Kind{event.KindTask}},
	} {
		got, err := Expand(c.words)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q: %v, %v; want %v", c.words, got, err, c.want)
		}
	}
	all, err := Expand([]string{"all"})
	if err != nil || len(all) != len(event.Kinds())-2 || slices.Contains(all, event.KindTask) || slices.Contains(all, event.KindLoss) {
		t.Errorf("all: %v, %v", all, err)
	}
	if star, err := Expand([]string{"*"}); err != nil || len(star) != len(all)+1 || slices.Contains(star, event.KindTask) {
		t.Errorf("*: %v, %v; want all and loss", star, err)
	}
}

func TestUnknown(t *testing.T) {
	for word, want := range map[string]string{
		"exek": "did you mean exec?", "zzzzzzzzz": "the kinds are fork", "file_z*": "no kind is like", "": "there is no kind",
		"[": "no kind is like", "a\x1b": `\\x1b`, "exec,nonsense": "nonsense",
	} {
		if _, err := Expand([]string{word}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", word, err, want)
		}
	}
}
