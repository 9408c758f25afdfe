package catalog

import (
	"log/slog"
	"slices"
	"testing"

	"github.com/merlon/merlon/internal/config"
	"github.com/merlon/merlon/internal/event"
)

// The reference names the right sensor for each kind, every kind has one, and
// no record belongs to two.
func TestReferenceNamesTheSensors(t *testing.T) {
	sensors := NewSensors(nil, config.Default(), slog.New(slog.DiscardHandler)) // nothing is loaded before Probe or Attach
	by, wires := map[event.Kind]string{}, map[uint16]string{}
	for _, s := range sensors {
		info := s.Info()
		for _, k := range info.Kinds {
			if by[k] != "" {
				t.Errorf("%s is reported by %s and %s", k, by[k], info.Name)
			}
			by[k] = info.Name
		}
		for w, k := range info.Wire {
			if wires[w] != "" {
				t.Errorf("record kind %d belongs to %s and %s", w, wires[w], info.Name)
			}
			wires[w] = info.Name
			if !slices.Contains(info.Kinds, k) && k != event.KindTask {
				t.Errorf("%s decodes records of %s, for which it can't be asked", info.Name, k)
			}
		}
	}
	for _, a := range event.Abouts() {
		if a.Kind != event.KindTask && by[a.Kind] != a.Sensor {
			t.Errorf("%s: the reference names sensor %q, it is %q", a.Kind, a.Sensor, by[a.Kind])
		}
	}
	if sensors[0].Info().Name != "process" {
		t.Errorf("the first sensor is %s", sensors[0].Info().Name)
	}
}
