package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/limiter"
	"github.com/weir-cluster/weir/policy"
)

// estate is what a node keeps for partitions, as cluster.Copies moves it: the buckets, and the records of reservations and
// remembered checks. A chunk of it is the length of the buckets' chunk, that chunk, and the records' chunk.
type estate struct {
	buckets *limiter.Store
	records *policy.Records
	now     func() time.Time
	past    *snapshots
}

var _ cluster.State = estate{}

// errChunk is the error for bytes that are no chunk of an estate.
var errChunk = errors.New("a piece of a partition is cut short")

// Track has the changes of a partition noted.
func (e estate) Track(p uint16, sequence uint64) {
	e.buckets.Track(p, sequence)
	e.records.Track(p, true)
}

// Untrack has them noted no more.
func (e estate) Untrack(p uint16) {
	e.buckets.Untrack(p)
	e.records.Track(p, false)
}

// Changed signals that something changed.
func (e estate) Changed() (buckets, records <-chan struct{}) {
	return e.buckets.Changed(), e.records.Changed()
}

// Due appends the partitions that changed; one may be there twice.
func (e estate) Due(dst []uint16) []uint16 { return e.records.Due(e.buckets.Due(dst)) }

// Changes returns what changed, nil if nothing did.
func (e estate) Changes(p uint16, most int) (chunk []byte, more bool) {
	buckets, more := e.buckets.Changes(p, e.now().UnixNano(), most/2)
	records, moreRecords := e.records.Changes(p, most/2)
	if len(buckets)+len(records) == 0 {
		return nil, more || moreRecords
	}
	chunk = binary.AppendUvarint(make([]byte, 0, len(buckets)+len(records)+binary.MaxVarintLen32), uint64(len(buckets)))
	return append(append(chunk, buckets...), records...), more || moreRecords
}

// Restore takes in what another estate's Changes returned, with debits of buckets beside it.
func (e estate) Restore(p uint16, chunk []byte, owed [][]byte) error {
	size, n := binary.Uvarint(chunk)
	if n <= 0 || size > uint64(len(chunk)-n) {
		return fmt.Errorf("%w: partition %d, %d bytes", errChunk, p, len(chunk))
	}
	buckets, records := chunk[n:n+int(size)], chunk[n+int(size):]
	if len(buckets) > 0 {
		if err := e.buckets.Restore(p, e.now().UnixNano(), 0, buckets, owed...); err != nil {
			return err
		}
	}
	if len(records) > 0 {
		return e.records.Restore(p, 0, records)
	}
	return nil
}

// Merge adds what a deputy took, or a disk kept.
func (e estate) Merge(p uint16, source uint64, buckets []byte) error {
	return e.buckets.Merge(p, e.now().UnixNano(), source, buckets)
}

// Remember takes in records that a disk kept.
func (e estate) Remember(p uint16, records []byte, age time.Duration) error {
	return e.records.Restore(p, age, records)
}

// Recall takes in what the disk kept.
func (e estate) Recall(p uint16, prior, since uint64) bool { return e.past.Recall(p, prior, since) }

// Inherit goes on with a copy of a partition.
func (e estate) Inherit(p uint16) { e.buckets.Inherit(p, e.now().UnixNano()) }

// Cold goes on without one.
func (e estate) Cold(p uint16) { e.buckets.Cold(p, e.now().UnixNano()) }

// Drop forgets a partition.
func (e estate) Drop(p uint16) {
	e.buckets.Drop(p)
	e.records.Drop(p)
}
