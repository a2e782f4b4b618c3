package ledger

import (
	"crypto/sha256"

	"github.com/cespare/xxhash/v2"
)

// What records are, in sums.
const (
	sumAccounts byte = iota + 1
	sumHolds
	sumKeys
	sumCursors
)

// sum is the sum, mod 2^64, of the hashes of a set of records. It does not depend on their order, and changes with one
// record in constant time. It is there to notice that replicas differ, not to resist someone who makes records up: the
// chain of events, which it goes with, is for that.
type sum uint64

func (s *sum) add(kind byte, record string)    { *s += recordHash(kind, record) }
func (s *sum) remove(kind byte, record string) { *s -= recordHash(kind, record) }

func (s *sum) wire(c *coder) { c.uint((*uint64)(s)) }

// recordHash also mixes, as sums of a hash's low bits would show patterns: the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
func recordHash(kind byte, record string) sum {
	h := xxhash.Sum64String(record) + uint64(kind)*0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return sum(h ^ h>>31)
}

// sums are those of all records.
type sums struct{ accounts, holds, keys, cursors sum }

func (s *sums) wire(c *coder) {
	s.accounts.wire(c)
	s.holds.wire(c)
	s.keys.wire(c)
	s.cursors.wire(c)
}

// stateDigest is the hash of a whole state: equal states have equal digests, whatever way they came to be.
func stateDigest(h *head, s *sums) [32]byte {
	c := coder{}
	h.wire(&c)
	s.wire(&c)
	return sha256.Sum256(c.b)
}

// notes are the digests after every compareEvery commands, of the last notesKept times. They are no part of the state: who
// was restored has none to compare.
type notes struct {
	counts  [notesKept]uint64
	digests [notesKept][32]byte
}

const (
	compareEvery = 4096
	notesKept    = 16
)

func (n *notes) take(count uint64, digest [32]byte) {
	i := count / compareEvery % notesKept
	n.counts[i], n.digests[i] = count, digest
}

// find returns the digest after so many commands, if it is known.
func (n *notes) find(count uint64) (digest [32]byte, ok bool) {
	i := count / compareEvery % notesKept
	return n.digests[i], count > 0 && n.counts[i] == count
}

// newest returns the last note.
func (n *notes) newest() (count uint64, digest [32]byte) {
	for i, c := range n.counts {
		if c > count {
			count, digest = c, n.digests[i]
		}
	}
	return count, digest
}
