package ring_test

import (
	"encoding/binary"
	"testing"

	"github.com/merlon/merlon/internal/ring"
	"github.com/merlon/merlon/internal/ring/ringtest"
)

const kindFed = 9

func TestFeedBooksBalance(t *testing.T) {
	feed := ring.NewFeed(0)
	rec := ringtest.Make(kindFed, true, 1000).Data
	const n = 5000 // more than fits
	took := 0
	for range n {
		if feed.Put(rec) {
			took++
		}
	}
	if took == 0 || took == n {
		t.Fatalf("%d of %d taken: the test shows nothing", took, n)
	}
	feed.Flush()
	feed.Lost(kindFed, 7)
	if feed.Put(rec[:4]) {
		t.Error("a record without a header was taken")
	}
	r, stop := start(t, ringtest.Open(t, 1<<20, 1<<20), 1, with(feed))
	handled := 0
	take := func(want int) {
		for handled < want {
			b := <-r.Batches()
			b.Each(func(got []byte) {
				if string(got) != string(rec) {
					t.Error("another record came out than went in")
				}
				handled++
			})
			b.Release()
		}
	}
	take(took)
	produced, lost := feed.Counts()
	if produced[kindFed] != n+7 || lost[kindFed] != n+7-uint64(took) || produced[0] != 1 || lost[0] != 1 {
		t.Errorf("produced %v, lost %v, taken %d", produced, lost, took)
	}
	for range 1000 { // to a reader that sleeps, or is about to
		if !feed.Put(rec) {
			t.Fatal("no room after the queue was emptied")
		}
		feed.Flush()
		take(handled + 1)
	}
	stop()
	if s := r.Stats(); s.Late != 0 {
		t.Errorf("%d batches were found only when the reader looked by itself", s.Late)
	}
}

func with(f *ring.Feed) func(*ring.Reader) {
	return func(r *ring.Reader) { r.Unpaced(); r.SetFeed(f) }
}

// TestFeedComesAfterItsCause puts a record into a ring and then one into the
// feed, again and again: they must come in that order.
func TestFeedComesAfterItsCause(t *testing.T) {
	f, fed := ringtest.Open(t, 1<<20, 1<<20), ring.NewFeed(0)
	set(t, f, ringtest.Make(kindCrit, false, 100))
	r, stop := start(t, f, 1, func(r *ring.Reader) { r.SetFeed(fed) }) // paced: it rests while records come
	effect := ringtest.Make(kindFed, true, 100).Data
	const n = 300
	go func() {
		for range n {
			feed(t, f, 0, 1)
			if !fed.Put(effect) {
				t.Error("no room for an effect")
			}
			fed.Flush()
		}
	}()
	causes, effects := 0, 0
	for effects < n {
		b := <-r.Batches()
		b.Each(func(rec []byte) {
			if binary.NativeEndian.Uint16(rec[8:]) == kindCrit {
				causes++
				return
			}
			if effects++; effects > causes {
				t.Errorf("effect %d came before its cause", effects)
			}
		})
		b.Release()
	}
	stop()
}
