package engine

import (
	"testing"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
)

// stateless is a sensor that can't tell of what exists.
type stateless struct{ contract.Sensor }

const wireFile = 40

func (stateless) Info() contract.SensorInfo {
	return contract.SensorInfo{Name: "stateless", Kinds: []event.Kind{event.KindFileCreate}, Wire: map[uint16]event.Kind{wireFile: event.KindFileCreate}}
}

// A flood of files that are lost is told, and does not have the processes
// listed anew every second.
func TestLossOfWhatNobodySeeds(t *testing.T) {
	lost := map[uint16]KernelLoss{}
	told := &journal{name: "sink"}
	e := New(Options{
		Sensors: []contract.Sensor{&toy{}, stateless{}}, Sinks: []contract.Sink{told},
		Counts: func() (map[uint16]KernelLoss, error) { return lost, nil },
	})
	lost[wireFile] = KernelLoss{Produced: 9, Lost: map[string]uint64{"ring_full": 9}}
	e.second()
	if e.resync.wanted || e.local.losses != 1 {
		t.Errorf("resync wanted: %v, losses told: %d; want false and 1", e.resync.wanted, e.local.losses)
	}
	lost[wireExec] = KernelLoss{Produced: 1, Lost: map[string]uint64{"ring_full": 1}}
	e.second()
	if !e.resync.wanted || e.local.losses != 2 {
		t.Errorf("resync wanted: %v, losses told: %d; want true and 2", e.resync.wanted, e.local.losses)
	}
}
