package main

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/merlon/merlon/internal/config"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/ring/ringtest"
)

// Records captured from real acts become events of the processes that they
// were made to be of, whole ones, and none is lost on the way.
func TestFedActs(t *testing.T) {
	for s, sc := range scenes() {
		t.Run(string(s), func(t *testing.T) {
			conf := config.Default()
			feeder := ringtest.Open(t, int(conf.Rings.Critical), int(conf.Rings.Bulk)) // first: skips without root
			f, err := captureFed(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			var kinds []event.Kind
			for i, tpl := range f.acts {
				var ev event.Event
				if err := f.Decode(tpl.rec, &ev); err != nil {
					t.Fatal(err)
				}
				kinds = append(kinds, ev.Kind)
				if want := uint32(100_000 + i); ev.Thread.PID != want {
					t.Errorf("%s is of process %d, want %d", ev.Kind, ev.Thread.PID, want)
				}
				switch {
				case s == fileActs && (ev.File == nil || filepath.Base(string(ev.File.Path)) != sceneFile || !filepath.IsAbs(string(ev.File.Path))):
					t.Errorf("%s of %+v", ev.Kind, ev.File)
				case s == netActs && (ev.Net == nil || ev.Net.LocalAddr != "127.0.0.1" || ev.Net.RemoteAddr != "127.0.0.1"):
					t.Errorf("%s of %+v", ev.Kind, ev.Net)
				}
			}
			if !slices.Equal(kinds, sc.kinds) {
				t.Errorf("got %v, want %v", kinds, sc.kinds)
			}
			p := &pipeline{o: pipelineOptions{Events: 3000, Stream: s}, conf: conf, fed: f, feeder: feeder, fill: 2000}
			if err := p.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if r := p.rep; !r.balanced() || r.LostKernel+r.LostQueue != 0 || r.Events != 3000 {
				t.Errorf("got %+v, want 3000 events and no loss", r)
			}
		})
	}
}

// An argument that is no flag must not start a measurement: the agent's own
// sensors run their binary with one.
func TestArgumentsAreRefused(t *testing.T) {
	if got := run([]string{"-only", "none", "version"}); got != 2 {
		t.Errorf("got %d, want 2", got)
	}
}

func TestTogether(t *testing.T) {
	if n, err := together(4, func() (int, error) { return 3, nil }); n != 12 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
}
