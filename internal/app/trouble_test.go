package app

import (
	"log/slog"
	"testing"
)

// Parts that work again leave the list, the others stay.
func TestTroubleRecovers(t *testing.T) {
	tr := newTrouble(slog.New(slog.DiscardHandler))
	for _, part := range []string{"program a", "program b", "store", partCost} {
		tr.tell(part, "reason", "cure")
	}
	tr.only("program ", map[string]bool{"program b": true})
	tr.well("store")
	var left []string
	for _, d := range tr.list() {
		left = append(left, d.Part)
	}
	if len(left) != 2 || left[0] != partCost || left[1] != "program b" {
		t.Errorf("left: %q", left)
	}
}
