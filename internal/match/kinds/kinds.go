// Package kinds finds the kinds of events that a person means: a name, several
// with commas between them, a pattern like file_*, or all.
package kinds

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/near"
)

// All stands for every kind that sensors report.
const All = "all"

// Expand returns the kinds that the words mean, each once, in the order of the
// reference. Patterns know * and ? (path.Match). A word that means nothing is
// an error, with the nearest name.
func Expand(words []string) ([]event.Kind, error) {
	chosen := map[event.Kind]bool{}
	for _, word := range words {
		for _, one := range strings.Split(word, ",") {
			found := match(strings.TrimSpace(one))
			if len(found) == 0 {
				return nil, unknown(strings.TrimSpace(one))
			}
			for _, k := range found {
				chosen[k] = true
			}
		}
	}
	var list []event.Kind
	for _, k := range event.Kinds() {
		if chosen[k] {
			list = append(list, k)
		}
	}
	return list, nil
}

// match returns the kinds that one word means. KindTask is nobody's to ask
// for: it is how sensors tell of what was there before.
func match(word string) []event.Kind {
	return slices.DeleteFunc(event.Kinds(), func(k event.Kind) bool {
		switch {
		case k == event.KindTask:
			return word != string(k)
		case word == All:
			return k == event.KindLoss
		}
		ok, err := path.Match(word, string(k))
		return err != nil || !ok
	})
}

func unknown(word string) error {
	names := []string{All}
	for _, k := range event.Kinds() {
		names = append(names, string(k))
	}
	safe := event.Safe(word)
	if strings.ContainsAny(word, "*?[") {
		return fmt.Errorf("no kind is like %q; the kinds are %s", safe, strings.Join(names[1:], ", "))
	}
	if n, ok := near.Find(word, names); ok {
		return fmt.Errorf("there is no kind %q; did you mean %s?", safe, n)
	}
	return fmt.Errorf("there is no kind %q; the kinds are %s", safe, strings.Join(names[1:], ", "))
}
