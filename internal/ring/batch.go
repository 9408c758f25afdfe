package ring

import (
	"encoding/binary"
	"sync/atomic"
)

// Batch is a slab of records, in the order in which they are to be handled.
// Who receives it owns it until Release.
type Batch struct {
	buf  []byte // per record: length u32, padding u32, the record, padding to 8
	n    int
	free chan *Batch
	held *atomic.Int64 // bytes in all batches handed over
}

// NewBatch returns a batch of copies of these records that belongs to no
// Reader, for input that comes from elsewhere.
func NewBatch(records ...[]byte) *Batch {
	size := 0
	for _, rec := range records {
		size += prefixSize + (len(rec)+7)&^7
	}
	b := &Batch{buf: make([]byte, 0, size)}
	for _, rec := range records {
		b.add(rec)
	}
	return b
}

// Len returns the number of records.
func (b *Batch) Len() int { return b.n }

// Each calls f for every record. The record is valid until Release and must
// not be written to; it starts at an address that is a multiple of 8.
func (b *Batch) Each(f func(rec []byte)) {
	for buf := b.buf; len(buf) > 0; {
		n := int(binary.NativeEndian.Uint32(buf))
		f(buf[prefixSize : prefixSize+n : prefixSize+n])
		buf = buf[prefixSize+(n+7)&^7:]
	}
}

// Release gives the slab back to the reader; b must not be used after it.
func (b *Batch) Release() {
	if b.free == nil {
		return
	}
	b.held.Add(-int64(len(b.buf)))
	b.buf, b.n = b.buf[:0], 0
	b.free <- b // has room for every slab there is
}

// add copies rec to the end of the batch; false when there is no room.
func (b *Batch) add(rec []byte) bool {
	at := len(b.buf)
	end := at + prefixSize + (len(rec)+7)&^7
	if end > cap(b.buf) {
		return false
	}
	b.buf = b.buf[:end]
	binary.NativeEndian.PutUint32(b.buf[at:], uint32(len(rec)))
	copy(b.buf[at+prefixSize:], rec)
	b.n++
	return true
}
