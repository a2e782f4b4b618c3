package limiter

import (
	"testing"
	"time"
)

// TestMergeIntoAColdPartitionLeavesItDrained takes from a bucket that was lost, after a debit of a deputy was merged into it.
func TestMergeIntoAColdPartitionLeavesItDrained(t *testing.T) {
	t.Parallel()
	const p, start = 3, int64(1_000_000_000_000)
	limit := &Limit{Algorithm: TokenBucket, Count: 5, Period: 10 * time.Second, Burst: 5}
	key := Key{Hi: 1, Lo: 2}
	deputy, home := NewStore(Config{BucketsMax: 10}), NewStore(Config{BucketsMax: 10})
	takes := []Take{{Key: key, Limit: limit, Cost: 1}}
	if o, _ := deputy.Take(p, start, takes); o != Taken {
		t.Fatal(o)
	}
	debits, _, _ := deputy.Export(p, start, Cursor{Sequence: 1}, 1<<10)
	home.Cold(p, start)
	if err := home.Merge(p, start, 7, debits); err != nil {
		t.Fatal(err)
	}
	takes = []Take{{Key: key, Limit: limit, Cost: 1}}
	if o, _ := home.Take(p, start+int64(time.Second), takes); o == Taken {
		t.Errorf("a bucket that was lost a second ago gave 1 of 5, and has %d left, since 1 was merged into it", takes[0].Remaining)
	}
}
