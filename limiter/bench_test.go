package limiter

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
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

// flatTable is the least that a store of buckets can do: it hashes the key, locks the partition, and reads, changes and writes
// the key's entry of one flat table of the same size, by linear probing. It decides nothing and never grows.
type flatTable struct {
	locks [partitions]struct {
		sync.Mutex
		_ [56]byte
	}
	slots []entry
}

func newFloor(s *Store) *flatTable {
	n := 0
	for i := range uint16(partitions) {
		n += s.at(i).table.pages() * pageLen
	}
	return &flatTable{slots: make([]entry, n)}
}

func (f *flatTable) take(p uint16, k Key, now int64) {
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

// BenchmarkTakeAgainstFloor takes turns between the store and the floor, so that both have the machine as it is. Where the
// partitions are tracked, the changes are shipped every 100,000 takes, outside of what is measured.
func BenchmarkTakeAgainstFloor(b *testing.B) {
	start := time.Now().UnixNano()
	limit := &Limit{Algorithm: TokenBucket, Count: 60, Period: time.Hour, Burst: 1 << 30}
	for _, name := range []string{"keys=1000", "keys=1000000", "tracked/keys=1000", "tracked/keys=1000000"} {
		keys := uint64(1000)
		if strings.HasSuffix(name, "000000") {
			keys = 1_000_000
		}
		b.Run(name, func(b *testing.B) {
			s, h := warmStore(keys, limit, start)
			for p := range uint16(partitions) {
				if strings.HasPrefix(name, "tracked") {
					s.Track(p, 1)
				}
			}
			f := newFloor(s)
			var room [20]byte
			for i := range keys {
				f.take(0, h.Key(keyText(&room, i)), start)
			}
			var ours, floors time.Duration
			var due []uint16
			i, n := uint64(0), 0
			for b.Loop() {
				if n%100_000 == 0 {
					due = shipAll(s, due[:0], start)
				}
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

// shipAll takes all changes, as a home does every 100 ms.
func shipAll(s *Store, due []uint16, now int64) []uint16 {
	due = s.Due(due)
	for _, p := range due {
		for more := true; more; {
			_, more = s.Changes(p, now, 1<<16)
		}
	}
	return due
}

// BenchmarkChanges ships 12 changes of each partition, of 244 buckets, and applies them; it reports what one of them takes.
func BenchmarkChanges(b *testing.B) {
	start := time.Now().UnixNano()
	limit := &Limit{Algorithm: TokenBucket, Count: 60, Period: time.Hour, Burst: 1 << 30}
	s, h := warmStore(1_000_000, limit, start)
	deputy := NewStore(DefaultConfig())
	for p := range uint16(partitions) {
		s.Track(p, 1)
	}
	var made, applied time.Duration
	var due []uint16
	n, bytes, i := 0, 0, uint64(0)
	ship := func() {
		due = s.Due(due[:0])
		for _, p := range due {
			for more := true; more; {
				began := time.Now()
				var chunk []byte
				chunk, more = s.Changes(p, start, 1<<16)
				turn := time.Now()
				if err := deputy.Restore(p, start, 0, chunk); err != nil {
					b.Fatal(err)
				}
				applied += time.Since(turn)
				made += turn.Sub(began)
				bytes += len(chunk)
			}
		}
	}
	ship()
	made, applied, bytes = 0, 0, 0
	var room [20]byte
	for b.Loop() {
		for range 12 * partitions {
			i += 7919
			k := i % 1_000_000
			takes := [1]Take{{Key: h.Key(keyText(&room, k)), Limit: limit, Cost: 1}}
			s.Take(uint16(k%partitions), start, takes[:])
		}
		ship()
		n += 12 * partitions
	}
	b.ReportMetric(float64(made)/float64(n), "make-ns")
	b.ReportMetric(float64(applied)/float64(n), "apply-ns")
	b.ReportMetric(float64(bytes)/float64(n), "B/change")
}

func BenchmarkTake(b *testing.B) {
	start := time.Now().UnixNano()
	for _, limit := range []*Limit{
		{Algorithm: TokenBucket, Count: 60, Period: time.Hour, Burst: 1 << 30},
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

// BenchmarkTakeOnCores reports how many times the takes of one core two make.
func BenchmarkTakeOnCores(b *testing.B) {
	start := time.Now().UnixNano()
	limit := &Limit{Algorithm: TokenBucket, Count: 60, Period: time.Hour, Burst: 1 << 30}
	const keys = 1_000_000
	s, h := warmStore(keys, limit, start)
	one := 0.0
	for _, cores := range []int{1, 2} {
		b.Run(fmt.Sprintf("cores=%d", cores), func(b *testing.B) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
			var turn atomic.Uint64
			b.RunParallel(func(pb *testing.PB) {
				var room [20]byte
				i := turn.Add(1) * 1_000_003
				for pb.Next() {
					i += 7919
					takes := [1]Take{{Key: h.Key(keyText(&room, i%keys)), Limit: limit, Cost: 1}}
					s.Take(uint16(i%keys%partitions), start, takes[:])
				}
			})
			rate := float64(b.N) / b.Elapsed().Seconds()
			if cores == 1 {
				one = rate
			}
			b.ReportMetric(rate/one, "x-one-core")
		})
	}
}

// resident is the process's memory in bytes.
func resident(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip(err)
	}
	var size, pages float64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		b.Fatal(err)
	}
	return pages * float64(os.Getpagesize())
}

// BenchmarkMemory fills a store under the collector's usual regime, garbage included, and then makes garbage while takes
// go on, to see the collector's pauses. Run it with -benchtime 1x, each size in a process of its own.
func BenchmarkMemory(b *testing.B) {
	limit := &Limit{Algorithm: TokenBucket, Count: 60, Period: time.Hour, Burst: 1 << 30}
	for _, keys := range []uint64{1_000_000, 10_000_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			if testing.Short() {
				b.Skip("it takes a while, and a lot of memory")
			}
			start := time.Now().UnixNano()
			for b.Loop() {
				debug.FreeOSMemory()
				before := resident(b)
				s, h := NewStore(Config{BucketsMax: 1 << 24}), NewHasher([16]byte{1})
				var room [20]byte
				take := func(i uint64) {
					takes := [1]Take{{Key: h.Key(keyText(&room, i)), Limit: limit, Cost: 1}}
					s.Take(uint16(i%partitions), start, takes[:])
				}
				for i := range keys {
					take(i)
				}
				b.ReportMetric((resident(b)-before)/float64(keys), "B/key")
				paused := pauses()
				var garbage [64][]byte
				for i := range uint64(4_000_000) {
					take(i * 7919 % keys)
					garbage[i%64] = make([]byte, 4096)
				}
				n, p99 := since(paused, pauses())
				b.ReportMetric(float64(n), "pauses")
				b.ReportMetric(p99*1e6, "p99-pause-us")
				if s.Len() != int64(keys) || len(garbage[0]) == 0 {
					b.Fatalf("%d buckets", s.Len())
				}
			}
		})
	}
}

func pauses() *metrics.Float64Histogram {
	sample := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(sample)
	return sample[0].Value.Float64Histogram()
}

// since returns how many pauses came between, and the bound that 99% of them are below.
func since(before, after *metrics.Float64Histogram) (n uint64, p99 float64) {
	for i := range after.Counts {
		n += after.Counts[i] - before.Counts[i]
	}
	seen := uint64(0)
	for i := range after.Counts {
		if seen += after.Counts[i] - before.Counts[i]; 100*seen >= 99*n {
			return n, after.Buckets[i+1]
		}
	}
	return n, 0
}

func BenchmarkKey(b *testing.B) {
	h := NewHasher([16]byte{1, 2, 3})
	text := keyText(new([20]byte), 7)
	b.ReportAllocs()
	for b.Loop() {
		h.Key(text)
	}
}
