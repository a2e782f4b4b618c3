package limiter

import "testing"

// A node has stores that are hardly ever used: they are to cost nothing until then.
func TestAStoreThatNobodyUsesHasNoPartitions(t *testing.T) {
	s := NewStore(DefaultConfig())
	if s.Len() != 0 || len(s.Due(nil)) != 0 || s.all.Load() != nil {
		t.Errorf("%d buckets, %d partitions due, partitions %t", s.Len(), len(s.Due(nil)), s.all.Load() != nil)
	}
	if s.Seen(4095) != 0 || s.all.Load() == nil {
		t.Error("it has no partitions when it is used")
	}
}
