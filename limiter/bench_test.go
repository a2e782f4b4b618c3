package limiter

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// keyText appends the 20 bytes that a bucket's key may be made of.
func keyText(room []byte, i uint64) []byte {
	room = append(room[:0], "user-rpm:alice000000"...)
	for p := len(room) - 1; i > 0; p-- {
		room[p] = byte('0' + i%10)
		i /= 10
	}
	return room
}

func warmStore(keys uint64, limit *Limit, start int64) (*Store, Hasher) {
	s, h := NewStore(DefaultConfig()), NewHasher([16]byte{1, 2, 3})
	var room [32]byte
	for i := range keys {
		takes := [1]Take{{Key: h.Key(keyText(room[:], i)), Limit: limit, Cost: 1}}
		s.Take(uint16(i%partitions), start, takes[:])
	}
	return s, h
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
				var room [32]byte
				i := uint64(0)
				b.ReportAllocs()
				for b.Loop() {
					i += 7919
					takes := [1]Take{{Key: h.Key(keyText(room[:], i%keys)), Limit: limit, Cost: 1}}
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
	var room [32]byte
	i := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		i++
		var takes [3]Take
		for j := range takes {
			takes[j] = Take{Key: h.Key(keyText(room[:], i%1000*3+uint64(j))), Limit: &limits[j], Cost: 1, Spill: true, Meter: uint8(j)}
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
		var room [32]byte
		i := turn.Add(1) * 1_000_003
		for pb.Next() {
			i += 7919
			takes := [1]Take{{Key: h.Key(keyText(room[:], i%1000)), Limit: limit, Cost: 1}}
			s.Take(uint16(i%1000), start+int64(i)/100, takes[:])
		}
	})
}

func BenchmarkKey(b *testing.B) {
	h := NewHasher([16]byte{1, 2, 3})
	text := keyText(nil, 7)
	b.ReportAllocs()
	for b.Loop() {
		h.Key(text)
	}
}
