package ring_test

import (
	"testing"

	"github.com/merlon/merlon/internal/ring"
	"github.com/merlon/merlon/internal/ring/ringtest"
)

func TestFeedBooksBalance(t *testing.T) {
	f := ring.NewFeed(0)
	rec := ringtest.Make(kindBulk, true, 1000).Data
	const n = 5000 // more than fits
	took := 0
	for range n {
		if f.Put(rec) {
			took++
		}
	}
	if took == 0 || took == n {
		t.Fatalf("%d of %d taken: the test shows nothing", took, n)
	}
	f.Flush()
	f.Lost(kindBulk, 7)
	if f.Put(rec[:4]) {
		t.Error("a record without a header was taken")
	}
	handled := drain(t, f, rec)
	produced, lost := f.Counts()
	if produced[kindBulk] != n+7 || lost[kindBulk] != n+7-uint64(took) || handled != took {
		t.Errorf("produced %d, lost %d, handled %d, taken %d", produced[kindBulk], lost[kindBulk], handled, took)
	}
	if !f.Put(rec) {
		t.Error("no room after the queue was emptied")
	}
	f.Flush()
	if got := drain(t, f, rec); got != 1 {
		t.Errorf("%d records afterwards, want 1", got)
	}
}

func drain(t *testing.T, f *ring.Feed, want []byte) (n int) {
	t.Helper()
	for {
		select {
		case b := <-f.Batches():
			b.Each(func(rec []byte) {
				if string(rec) != string(want) {
					t.Fatal("another record came out than went in")
				}
				n++
			})
			b.Release()
		default:
			return n
		}
	}
}
