package ring

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/merlon/merlon/internal/ring/ringtest"
)

// mem is a ring in ordinary memory: the states that a producer is in for a
// few nanoseconds only can't be held still in a real one.
type mem struct {
	*consumer
	words [2]uint64
}

func newMem(size int) *mem {
	m := &mem{}
	m.consumer = &consumer{data: make([]byte, 2*size), consPos: &m.words[0], prodPos: &m.words[1], mask: uint64(size - 1)}
	return m
}

// put appends a record of that time and returns where its header is.
func (m *mem) put(time uint64, flags uint32) int {
	at := int(*m.prodPos & m.mask)
	rec := m.data[at+prefixSize:]
	binary.NativeEndian.PutUint64(rec, time)
	binary.NativeEndian.PutUint16(rec[8:], 1)
	m.setLen(at, headerSize|flags)
	*m.prodPos += prefixSize + headerSize
	return at
}

func (m *mem) setLen(at int, word uint32) { binary.NativeEndian.PutUint32(m.data[at:], word) }

func memReader() (r *Reader, crit, bulk *mem) {
	crit, bulk = newMem(1<<14), newMem(1<<14)
	return &Reader{
		crit: crit.consumer, bulk: bulk.consumer, slabs: minSlabs,
		queue: make(chan *Batch, minSlabs), free: make(chan *Batch, minSlabs),
	}, crit, bulk
}

func times(r *Reader) (got []uint64) {
	if r.cur == nil {
		return nil
	}
	r.cur.Each(func(rec []byte) { got = append(got, binary.NativeEndian.Uint64(rec)) })
	return got
}

func TestMergeByTime(t *testing.T) {
	r, crit, bulk := memReader()
	for _, at := range []uint64{1, 4, 4, 9} {
		crit.put(at, 0)
	}
	crit.put(5, discardBit)
	for _, at := range []uint64{2, 3, 4, 7, 12} {
		bulk.put(at, 0)
	}
	if res, err := r.pass(true); err != nil || !res.moved || res.busy {
		t.Fatalf("pass: %+v, %v", res, err)
	}
	if got, want := times(r), []uint64{1, 2, 3, 4, 4, 4, 7, 9, 12}; !slices.Equal(got, want) {
		t.Errorf("order: got %v, want %v", got, want)
	}
	r.crit.publish()
	if *crit.consPos != *crit.prodPos {
		t.Errorf("consumed %d of %d bytes: the discarded record is in the way", *crit.consPos, *crit.prodPos)
	}
}

func TestUnfinishedRecordHoldsBackLaterOnes(t *testing.T) {
	r, crit, bulk := memReader()
	crit.put(1, 0)
	at := crit.put(2, busyBit)
	crit.put(3, 0)
	bulk.put(4, 0)
	if res, _ := r.pass(true); !res.busy {
		t.Error("a strict pass went beyond an unfinished record")
	}
	if got, want := times(r), []uint64{1}; !slices.Equal(got, want) {
		t.Errorf("before it is finished: got %v, want %v", got, want)
	}
	crit.setLen(at, headerSize)
	if _, err := r.pass(true); err != nil {
		t.Fatal(err)
	}
	if got, want := times(r), []uint64{1, 2, 3, 4}; !slices.Equal(got, want) {
		t.Errorf("after it is finished: got %v, want %v", got, want)
	}
}

// A producer that was stopped in the middle must not stop the other ring.
func TestPatienceEnds(t *testing.T) {
	r, crit, bulk := memReader()
	crit.put(1, busyBit)
	bulk.put(2, 0)
	res, err := r.drain(context.Background())
	if err != nil || !res.busy {
		t.Fatalf("drain: %+v, %v", res, err)
	}
	b := <-r.queue // drain has handed it over
	if b.Len() != 1 {
		t.Errorf("handed over %d records, want the bulk one", b.Len())
	}
}

func TestBrokenRingIsAnError(t *testing.T) {
	r, crit, _ := memReader()
	at := crit.put(1, 0)
	crit.setLen(at, 4096) // beyond the producer's position
	if _, err := r.pass(true); err == nil {
		t.Error("a record longer than what was produced: no error")
	}
}

func TestRecordWithoutHeaderIsCounted(t *testing.T) {
	r, crit, _ := memReader()
	at := crit.put(1, 0)
	crit.setLen(at, 7)
	*crit.prodPos -= prefixSize + headerSize - 16
	if res, err := r.pass(true); err != nil || !res.moved {
		t.Fatalf("pass: %+v, %v", res, err)
	}
	if r.counts.dropped[0] != 1 || r.cur != nil {
		t.Errorf("dropped %d, batch %v", r.counts.dropped[0], r.cur)
	}
}

// Bulk records are dropped when the queue has been full for the grace, and
// taken again when it is half empty.
func TestPressure(t *testing.T) {
	r, crit, bulk := memReader()
	r.made = r.slabs // all with the handler
	crit.put(1, 0)
	bulk.put(2, 0)
	r.fullSince = time.Now()
	if res, _ := r.drain(context.Background()); !res.full || r.counts.dropped[1] != 0 {
		t.Fatalf("within the grace: %+v, dropped %d", res, r.counts.dropped[1])
	}
	r.fullSince = time.Now().Add(-2 * grace)
	if res, _ := r.drain(context.Background()); !res.full || r.counts.dropped[1] != 1 {
		t.Fatalf("after the grace: %+v, dropped %d, want 1", res, r.counts.dropped[1])
	}
	for range r.slabs / 2 {
		b := &Batch{buf: make([]byte, 0, slabSize), free: r.free, held: &r.held}
		b.Release()
	}
	bulk.put(3, 0)
	if res, _ := r.drain(context.Background()); res.full || r.counts.delivered[1] != 2 {
		t.Errorf("half empty: %+v, delivered %d, want 2", res, r.counts.delivered[1])
	}
}

// BenchmarkDrain is the cost of reading and handling without a producer
// beside them: the rings are filled while the clock stands still.
func BenchmarkDrain(b *testing.B) {
	for _, size := range []int{256, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) { benchDrain(b, size) })
	}
}

func benchDrain(b *testing.B, size int) {
	const chunk = 1 << 20
	f := ringtest.Open(b, chunk, chunk)
	body := size - ringtest.HeaderSize
	if err := f.Set(ringtest.Make(1, false, body), ringtest.Make(2, true, body)); err != nil {
		b.Fatal(err)
	}
	r, err := New(Options{Critical: f.Critical, Bulk: f.Bulk, QueueBytes: 4 * chunk})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	var sum, records uint64
	handle := func(rec []byte) { sum += uint64(rec[8]) }
	b.ReportAllocs()
	b.ResetTimer()
	for records < uint64(b.N) {
		b.StopTimer()
		if err := f.Feed(0, chunk/size); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, err := r.drain(context.Background()); err != nil {
			b.Fatal(err)
		}
		r.offer()
		for len(r.queue) > 0 {
			batch := <-r.queue
			records += uint64(batch.Len())
			batch.Each(handle)
			batch.Release()
			r.offer()
		}
	}
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(records), "ns/event")
}
