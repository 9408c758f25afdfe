package network

import (
	"context"
	"encoding/binary"
	"errors"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/kernel"
)

// sweepEvery is how often flows are looked through for silent ones.
const sweepEvery = 5 * time.Second

// Run implements contract.Source: it ends the UDP flows that have been silent
// for FlowIdle. Those of a socket that had only one end with the socket, in
// the kernel.
func (s *Sensor) Run(ctx context.Context, feed contract.Feed) error {
	t := time.NewTicker(min(sweepEvery, s.opts.FlowIdle))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			s.sweep(feed)
		}
	}
}

// sweep ends the flows that are silent.
func (s *Sensor) sweep(feed contract.Feed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unit == nil {
		return
	}
	m := s.unit.Map(networkMapNetFlows)
	if m == nil {
		return
	}
	now := kernel.BootTime()
	var silent []networkFlowKey
	err := each(m, func(k *networkFlowKey, f *networkNetFlow) {
		if f.Last+uint64(s.opts.FlowIdle) < now {
			silent = append(silent, *k)
		}
	})
	if err != nil {
		s.opts.Log.Warn("look through flows", "err", err)
	}
	for i := range silent {
		if f := take(m, &silent[i]); f != nil {
			feed.Put(endOf(f))
		}
	}
	feed.Flush()
}

// take removes a flow and returns it; nil when it has ended otherwise.
func take(m *ebpf.Map, key *networkFlowKey) *networkNetFlow {
	f := new(networkNetFlow)
	err := m.LookupAndDelete(key, f)
	if errors.Is(err, ebpf.ErrNotSupported) { // hashes: Linux 5.14
		if err = m.Lookup(key, f); err == nil {
			err = m.Delete(key)
		}
	}
	if err != nil {
		return nil
	}
	return f
}

// endOf makes the record of a flow's end.
func endOf(f *networkNetFlow) []byte {
	var r networkNetEndRec
	r.Net = f.Head
	r.Net.Hdr.Time = kernel.BootTime()
	r.Net.Hdr.Flags |= uint16(networkNetFlagNET_END)
	r.Net.Duration = f.Last - f.Head.Hdr.Time
	r.BytesIn, r.BytesOut, r.PacketsIn, r.PacketsOut = f.BytesIn, f.BytesOut, f.PacketsIn, f.PacketsOut
	b := make([]byte, 0, unsafe.Sizeof(r))
	b, err := binary.Append(b, binary.NativeEndian, &r)
	if err != nil {
		return nil // cannot be: all fields are of fixed size
	}
	return b
}

// each calls f for every entry of a hash; f may not keep them.
func each[K, V any](m *ebpf.Map, f func(*K, *V)) error {
	const batch = 512
	keys, values := make([]K, batch), make([]V, batch)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			f(&keys[i], &values[i])
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// forget removes those entries of a hash that are not kept right any more.
func forget[K, V any](m *ebpf.Map, stale func(*V) bool) error {
	if m == nil {
		return nil
	}
	var keys []K
	err := each(m, func(k *K, v *V) {
		if stale(v) {
			keys = append(keys, *k)
		}
	})
	for i := range keys {
		if e := m.Delete(&keys[i]); e != nil && !errors.Is(e, ebpf.ErrKeyNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}
