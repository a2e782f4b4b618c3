package limiter

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// keyText returns the 20 bytes that a bucket's key may be made of.
func keyText(room *[20]byte, i uint64) []byte {
	copy(room[:], "user-rpm:a")
	binary.LittleEndian.PutUint64(room[12:], i)
	return room[:]
}

func warmStore(keys uint64, limit *Limit, start int64) (*Store, Hasher) {
	s, h := NewStore(DefaultConfig()), NewHasher([16]byte{1, 2, 3})
	var room [20]byte
	for i := range keys {
		takes := [1]Take{{Key: h.Key(keyText(&room, i)), Limit: limit, Cost: 1}}
		s.Take(uint16(i%partitions), start, takes[:])
	}
	return s, h
}

// floor is the least that a store of buckets can do: it hashes the key, locks the partition, and reads, changes and writes
// the key's entry of one flat table of the same size, by linear probing. It decides nothing and never grows.
type floor struct {
	locks [partitions]struct {
		sync.Mutex
		_ [56]byte
	}
	slots []entry
}

func newFloor(s *Store) *floor {
	n := 0
	for i := range s.partitions {
		n += s.partitions[i].table.pages() * pageLen
	}
	return &floor{slots: make([]entry, n)}
}

func (f *floor) take(p uint16, k Key, now int64) {
	l := &f.locks[p]
	l.Lock()
	defer l.Unlock()
	at, _ := bits.Mul64(k.Lo, uint64(len(f.slots)))
	hi := uint32(k.Hi)
	for {
		e := &f.slots[at]
		if e.lo == k.Lo && e.hi == hi || e.word == 0 {
			e.lo, e.hi, e.word, e.low = k.Lo, hi, max(e.word, uint64(now))+1, e.low+1
			return
		}
		if at++; at == uint64(len(f.slots)) {
			at = 0
		}
	}
}

// BenchmarkTakeAgainstFloor takes turns between the store and the floor, so that both have the machine as it is.
func BenchmarkTakeAgainstFloor(b *testing.B) {
	start := time.Now().UnixNano()
	limit := &Limit{Algorithm: TokenBucket, Count: 60_000, Period: time.Hour, Burst: 1 << 30}
	for _, keys := range []uint64{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			s, h := warmStore(keys, limit, start)
			f := newFloor(s)
			var room [20]byte
			for i := range keys {
				f.take(0, h.Key(keyText(&room, i)), start)
			}
			var ours, floors time.Duration
			i, n := uint64(0), 0
			b.ReportAllocs()
			for b.Loop() {
				i += 7919
				k := i
				began := time.Now()
				for range 1000 {
					k += 7919
					takes := [1]Take{{Key: h.Key(keyText(&room, k%keys)), Limit: limit, Cost: 1}}
					s.Take(uint16(k%keys%partitions), start+int64(k)/100, takes[:])
				}
				turn := time.Now()
				k = i + 500*7919*keys/1000
				for range 1000 {
					k += 7919
					f.take(uint16(k%keys%partitions), h.Key(keyText(&room, k%keys)), start+int64(k)/100)
				}
				floors += time.Since(turn)
				ours += turn.Sub(began)
				i += 7919 * 1000
				n += 1000
			}
			b.ReportMetric(float64(ours)/float64(n), "take-ns")
			b.ReportMetric(float64(floors)/float64(n), "floor-ns")
			b.ReportMetric(float64(ours)/float64(floors), "x-floor")
		})
	}
}

func BenchmarkTake(b *testing.B) {
	start := time.Now().UnixNano()
	for _, limit := range []*Limit{
		{Algorithm: TokenBucket, Count: 60_000, Period: time.Hour, Burst: 1 << 30},
		{Algorithm: FixedWindow, Count: 1 << 40, Period: time.Hour},
	} {
		for _, keys := range []uint64{1_000, 1_000_000} {
			b.Run(fmt.Sprintf("%v/keys=%d", limit.Algorithm, keys), func(b *testing.B) {
				s, h := warmStore(keys, limit, start)
				var room [20]byte
				i := uint64(0)
				b.ReportAllocs()
				for b.Loop() {
					i += 7919
					takes := [1]Take{{Key: h.Key(keyText(&room, i%keys)), Limit: limit, Cost: 1}}
					s.Take(uint16(i%keys%partitions), start+int64(i)/100, takes[:])
				}
			})
		}
	}
}

func BenchmarkTakeThreeLimits(b *testing.B) {
	start := time.Now().UnixNano()
	limits := [3]Limit{
		{Algorithm: TokenBucket, Count: 60_000, Period: time.Minute, Burst: 60_000},
		{Algorithm: TokenBucket, Count: 2_000_000, Period: time.Minute, Burst: 4_000_000},
		{Algorithm: FixedWindow, Count: 1 << 40, Period: time.Hour},
	}
	s, h := NewStore(DefaultConfig()), NewHasher([16]byte{1, 2, 3})
	var room [20]byte
	i := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		i++
		var takes [3]Take
		for j := range takes {
			takes[j] = Take{Key: h.Key(keyText(&room, i%1000*3+uint64(j))), Limit: &limits[j], Cost: 1, Spill: true, Meter: uint8(j)}
		}
		s.Take(uint16(i%1000), start+int64(i), takes[:])
	}
}

func BenchmarkTakeParallel(b *testing.B) {
	start := time.Now().UnixNano()
	limit := &Limit{Algorithm: TokenBucket, Count: 60_000, Period: time.Hour, Burst: 1 << 30}
	s, h := warmStore(1000, limit, start)
	var turn atomic.Uint64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		var room [20]byte
		i := turn.Add(1) * 1_000_003
		for pb.Next() {
			i += 7919
			takes := [1]Take{{Key: h.Key(keyText(&room, i%1000)), Limit: limit, Cost: 1}}
			s.Take(uint16(i%1000), start+int64(i)/100, takes[:])
		}
	})
}

func BenchmarkKey(b *testing.B) {
	h := NewHasher([16]byte{1, 2, 3})
	text := keyText(new([20]byte), 7)
	b.ReportAllocs()
	for b.Loop() {
		h.Key(text)
	}
}
