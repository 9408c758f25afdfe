package ring_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/merlon/merlon/internal/ring"
	"github.com/merlon/merlon/internal/ring/ringtest"
)

const (
	kindCrit = 2
	kindBulk = 5
)

// start runs a Reader over f. The function it returns ends Run, and returns
// once it has ended.
func start(tb testing.TB, f *ringtest.Feeder, queue int, prepare ...func(*ring.Reader)) (*ring.Reader, func()) {
	tb.Helper()
	r, err := ring.New(ring.Options{Critical: f.Critical, Bulk: f.Bulk, State: f.State, QueueBytes: queue})
	if err != nil {
		tb.Fatal(err)
	}
	for _, p := range prepare {
		p(r)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
		if err := r.Close(); err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(stop)
	return r, stop
}

func feed(tb testing.TB, f *ringtest.Feeder, cpu, n int) {
	tb.Helper()
	if err := f.Feed(cpu, n); err != nil {
		tb.Error(err)
	}
}

func set(tb testing.TB, f *ringtest.Feeder, records ...ringtest.Record) {
	tb.Helper()
	if err := f.Set(records...); err != nil {
		tb.Fatal(err)
	}
}

// mixed returns records that fill their 8-byte alignment and ones that don't,
// the smallest, and the largest there can be.
func mixed() []ringtest.Record {
	return []ringtest.Record{
		ringtest.Make(kindCrit, false, 0), ringtest.Make(kindBulk, true, 1), ringtest.Make(kindCrit, false, 500),
		ringtest.Make(kindBulk, true, 4095), ringtest.Make(kindCrit, false, 32768-ringtest.HeaderSize),
		ringtest.Make(kindBulk, true, 7), ringtest.Make(kindCrit, false, 8),
	}
}

func TestRecordsArriveWholeAndInOrder(t *testing.T) {
	f := ringtest.Open(t, 4<<20, 4<<20)
	want := mixed()
	set(t, f, want...)
	r, stop := start(t, f, 0)
	const rounds = 50
	for range rounds {
		feed(t, f, 0, len(want)) // a signal makes it start again, in the same order
	}
	produced := total(t, f)
	var got, last uint64
	for b := range r.Batches() {
		b.Each(func(rec []byte) {
			tmpl := want[got%uint64(len(want))]
			if !bytes.Equal(rec[8:12], tmpl.Data[8:12]) || !bytes.Equal(rec[16:], tmpl.Data[16:]) {
				t.Fatalf("record %d: got kind %d and %d bytes, want kind %d and %d bytes", got, rec[8], len(rec), tmpl.Kind, len(tmpl.Data))
			}
			if now := binary.NativeEndian.Uint64(rec); now < last {
				t.Fatalf("record %d: time %d before %d", got, now, last)
			} else {
				last = now
			}
			got++
		})
		b.Release()
		if got == produced {
			go stop()
		}
	}
	if got != produced {
		t.Errorf("got %d records, want %d", got, produced)
	}
}

func total(tb testing.TB, f *ringtest.Feeder) (n uint64) {
	tb.Helper()
	counts, err := f.Counts()
	if err != nil {
		tb.Fatal(err)
	}
	for _, c := range counts {
		n += c.Produced - c.Lost
	}
	return n
}

// checkBooks compares, kind by kind, what the kernel produced with what the
// handler got and what was counted lost. The rings must be empty.
func checkBooks(t *testing.T, f *ringtest.Feeder, s ring.Stats, handled map[uint16]uint64) {
	t.Helper()
	counts, err := f.Counts()
	if err != nil {
		t.Fatal(err)
	}
	for kind, c := range counts {
		t.Logf("kind %d: produced %d = handled %d + kernel lost %d + queue dropped %d", kind, c.Produced, handled[kind], c.Lost, s.Dropped[kind])
		if c.Produced != handled[kind]+c.Lost+s.Dropped[kind] {
			t.Errorf("kind %d: produced %d, accounted for %d", kind, c.Produced, handled[kind]+c.Lost+s.Dropped[kind])
		}
		if s.Delivered[kind] != handled[kind] {
			t.Errorf("kind %d: Stats says %d delivered, handler got %d", kind, s.Delivered[kind], handled[kind])
		}
	}
}

// collect counts what arrives, slowed down by pause per batch, until every
// record that reached the rings is accounted for after fed is closed.
func collect(t *testing.T, f *ringtest.Feeder, r *ring.Reader, stop func(), fed <-chan struct{}, pause time.Duration) map[uint16]uint64 {
	t.Helper()
	handled := make(map[uint16]uint64)
	count := func(rec []byte) { handled[binary.NativeEndian.Uint16(rec[8:])]++ }
	go func() {
		<-fed
		for want := total(t, f); ; time.Sleep(time.Millisecond) {
			s, have := r.Stats(), uint64(0)
			for _, n := range s.Delivered {
				have += n
			}
			for _, n := range s.Dropped {
				have += n
			}
			if have >= want {
				stop()
				return
			}
		}
	}()
	for b := range r.Batches() {
		b.Each(count)
		b.Release()
		time.Sleep(pause)
	}
	return handled
}

func TestBooksBalance(t *testing.T) {
	for _, tt := range []struct {
		name       string
		crit, bulk int
		pause      time.Duration
		kernelLost bool // more is fed at once than the rings could hold
	}{
		{"fast handler", 4 << 20, 4 << 20, 0, false},
		{"slow handler", 1 << 20, 1 << 20, 20 * time.Millisecond, true},
		{"tiny rings", os.Getpagesize(), os.Getpagesize(), 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := ringtest.Open(t, tt.crit, tt.bulk)
			set(t, f, ringtest.Make(kindCrit, false, 200), ringtest.Make(kindBulk, true, 300), ringtest.Make(kindBulk, true, 40))
			r, stop := start(t, f, 1)
			fed := make(chan struct{})
			go func() {
				defer close(fed)
				var wg sync.WaitGroup
				for cpu := range min(2, runtime.NumCPU()) {
					wg.Go(func() { feed(t, f, cpu, 150_000) })
				}
				wg.Wait()
			}()
			handled := collect(t, f, r, stop, fed, tt.pause)
			checkBooks(t, f, r.Stats(), handled)
			counts, _ := f.Counts()
			if tt.kernelLost && counts[kindBulk].Lost == 0 {
				t.Error("the rings never overflowed: the test shows nothing")
			}
		})
	}
}

func TestStalledHandler(t *testing.T) {
	f := ringtest.Open(t, 1<<20, 1<<20)
	set(t, f, ringtest.Make(kindCrit, false, 1000), ringtest.Make(kindBulk, true, 1000))
	r, stop := start(t, f, 1)
	limit := r.Stats().QueueLimit
	// Nobody takes batches: the queue fills, then bulk is dropped and the
	// critical ring overflows in the kernel.
	deadline := time.Now().Add(20 * time.Second)
	for r.Stats().Dropped[kindBulk] == 0 || kernelLost(t, f)[kindCrit] == 0 {
		if time.Now().After(deadline) {
			t.Fatal("bulk records were never dropped, or the critical ring never overflowed")
		}
		feed(t, f, 0, 200)
		if d := r.Stats().QueueDepth; d > limit {
			t.Fatalf("queue holds %d bytes, limit %d", d, limit)
		}
	}
	if n := r.Stats().Dropped[kindCrit]; n != 0 {
		t.Errorf("%d critical records were dropped by the queue", n)
	}
	fed := make(chan struct{})
	close(fed)
	handled := collect(t, f, r, stop, fed, 0)
	checkBooks(t, f, r.Stats(), handled)
}

func kernelLost(t *testing.T, f *ringtest.Feeder) map[uint16]uint64 {
	t.Helper()
	counts, err := f.Counts()
	if err != nil {
		t.Fatal(err)
	}
	lost := make(map[uint16]uint64)
	for k, c := range counts {
		lost[k] = c.Lost
	}
	return lost
}

func TestStopHandsOverWhatIsHeld(t *testing.T) {
	f := ringtest.Open(t, 1<<20, 1<<20)
	set(t, f, ringtest.Make(kindCrit, false, 100))
	r, stop := start(t, f, 1)
	feed(t, f, 0, 1000)
	for r.Stats().Delivered[kindCrit] != total(t, f) {
		runtime.Gosched()
	}
	stop()
	var n uint64
	for b := range r.Batches() { // Run has closed it
		n += uint64(b.Len())
		b.Release()
	}
	if want := total(t, f); n != want {
		t.Errorf("got %d records after the stop, want %d", n, want)
	}
}

func TestQuietReaderSleeps(t *testing.T) {
	f := ringtest.Open(t, 1<<20, 1<<20)
	set(t, f, ringtest.Make(kindCrit, false, 100))
	r, _ := start(t, f, 1)
	feed(t, f, 0, 10)
	(<-r.Batches()).Release()
	for range 100 {
		before := r.Stats().Looks
		time.Sleep(50 * time.Millisecond)
		if r.Stats().Looks == before {
			return
		}
	}
	t.Error("the reader keeps looking although nothing is produced")
}

// TestEveryRecordWakes feeds records one by one to a reader that goes to sleep
// after each: none may wait until the sleep ends by itself.
func TestEveryRecordWakes(t *testing.T) {
	f := ringtest.Open(t, 1<<20, 1<<20)
	set(t, f, ringtest.Make(kindCrit, false, 100), ringtest.Make(kindBulk, true, 100))
	r, stop := start(t, f, 1, (*ring.Reader).Unpaced)
	const n = 20_000
	for range n {
		feed(t, f, 0, 1)
		(<-r.Batches()).Release()
		for range 20 { // now and then it sleeps, now and then it is about to
			runtime.Gosched()
		}
	}
	stop()
	s := r.Stats()
	if s.Late != 0 {
		t.Errorf("%d of %d records were found only when the reader looked by itself", s.Late, n)
	}
	if s.Wakeups == 0 {
		t.Error("the reader was never woken: the test shows nothing")
	}
}

func TestPaceBoundsLooks(t *testing.T) {
	start := time.Unix(1000, 0)
	now, looks := start, 0
	p := new(ring.Pace)
	for now.Sub(start) < 10*time.Second {
		now = now.Add(p.Pause(now, 100, 1<<20) + time.Millisecond) // a record each millisecond
		looks++
	}
	if looks < 190 || looks > 215 {
		t.Errorf("%d looks in 10 s of steady records, want 8 and 20 a second", looks)
	}
	if d := p.Pause(now.Add(time.Hour), 100, 1<<20); d != 0 {
		t.Errorf("after an hour of quiet the reader rests %v", d)
	}
	for range 20 {
		p.Pause(now.Add(time.Hour), 100, 1<<20)
	}
	if few, many := p.Pause(now.Add(time.Hour), 100, 1<<20), p.Pause(now.Add(time.Hour), 1<<20, 1<<20); many >= few {
		t.Errorf("rests %v after little, %v after a full ring", few, many)
	}
}

func TestNoAllocationPerRecord(t *testing.T) {
	f := ringtest.Open(t, 4<<20, 4<<20)
	set(t, f, ringtest.Make(kindCrit, false, 200), ringtest.Make(kindBulk, true, 200))
	r, _ := start(t, f, 4<<20)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var handled, dropped uint64
	count := func([]byte) { handled++ }
	once := func(n int) func() {
		return func() {
			feed(t, f, 0, n)
			want := total(t, f)
			for handled+dropped < want {
				select {
				case b := <-r.Batches():
					b.Each(count)
					b.Release()
				case <-tick.C: // a slow machine may make the reader drop
					dropped = lost(r)
				}
			}
		}
	}
	once(20_000)() // make the slabs
	few, many := testing.AllocsPerRun(20, once(1)), testing.AllocsPerRun(20, once(20_000))
	// What feeding and reading the books allocates is in both; a batch may
	// grow a channel's queue of waiters.
	if many > few+20 {
		t.Errorf("%v allocations for 20,000 records, %v for one", many, few)
	}
}

// lost is what the reader dropped at a full queue.
func lost(r *ring.Reader) (n uint64) {
	for _, d := range r.Stats().Dropped {
		n += d
	}
	return n
}

func TestNewRefusesOtherMaps(t *testing.T) {
	if _, err := ring.New(ring.Options{}); err == nil {
		t.Error("New without rings: no error")
	}
}

// BenchmarkKernelToHandler runs a producer as fast as the kernel can on one
// CPU, and reader and handler on what is left.
func BenchmarkKernelToHandler(b *testing.B) {
	f := ringtest.Open(b, 4<<20, 8<<20)
	set(b, f, ringtest.Make(kindCrit, false, 240), ringtest.Make(kindBulk, true, 240))
	r, stop := start(b, f, 0)
	var n uint64
	count := func(rec []byte) { n += uint64(rec[8]) & 1 }
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		feed(b, f, runtime.NumCPU()-1, b.N)
		for want := total(b, f); ; time.Sleep(time.Millisecond) {
			s := r.Stats()
			if s.Delivered[kindCrit]+s.Delivered[kindBulk]+s.Dropped[kindBulk] >= want {
				break
			}
		}
		stop()
	}()
	for batch := range r.Batches() {
		batch.Each(count)
		batch.Release()
	}
	b.StopTimer()
	s, counts := r.Stats(), must(f.Counts())
	delivered := s.Delivered[kindCrit] + s.Delivered[kindBulk]
	produced := counts[kindCrit].Produced + counts[kindBulk].Produced
	b.ReportMetric(float64(delivered)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(100*float64(produced-delivered)/float64(produced), "%lost")
	b.ReportMetric(float64(s.Wakeups)/b.Elapsed().Seconds(), "wakeups/s")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
