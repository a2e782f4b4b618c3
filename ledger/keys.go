package ledger

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"
)

// The idempotency window. Keys are remembered by the hour of log time in which they arrived, for 25 to 26 hours:
// a day, an hour for the clocks of those who make keys that carry a time, and the rest of the hour they came in.
const (
	keyWindow   = 24 * time.Hour
	keySkew     = time.Hour
	hoursKept   = 25
	dropsMax    = 1000 // records dropped by one command, so that the end of a busy hour does not stall the log
	uuidLength  = 36
	keysPerTurn = 2 // the most that one command adds: a return and the bar on its debit
)

func hourOf(nanos int64) int64 { return nanos / int64(time.Hour) }

// forgotten tells whether what was remembered in an hour counts no more; whether it was dropped already does not matter.
func forgotten(hour, now int64) bool { return now-hour > hoursKept }

type digest [16]byte

// record is what is remembered of a key.
type record struct {
	key      string
	op       op
	account  string
	intent   digest  // of the client's command; never of what the state made of it
	reply    []byte  // the first one; nil bars the key of a debit whose return came first
	returned Credits // of a debit: how much of its parts was given back, counted from the last

	hour  int64
	at    int // its place in the hour's records
	epoch uint64
}

type generation struct {
	hour    int64
	records []*record
}

// keys is the idempotency table.
type keys struct {
	byKey       map[string]*record // the newest record of each key
	generations []generation       // oldest first
	count       int                // of all records, forgotten ones too until they are dropped
}

// find returns the record of a key that is not forgotten, or nil.
func (k *keys) find(key string, hour int64) *record {
	if r := k.byKey[key]; r != nil && !forgotten(r.hour, hour) {
		return r
	}
	return nil
}

// add remembers r, which is of the newest hour.
func (k *keys) add(r *record) {
	n := len(k.generations)
	if n == 0 || k.generations[n-1].hour < r.hour {
		k.generations = append(k.generations, generation{hour: r.hour})
		n++
	}
	g := &k.generations[n-1]
	r.at = len(g.records)
	g.records = append(g.records, r)
	k.byKey[r.key] = r
	k.count++
}

// own returns r, or the copy that takes its place, ready to be changed.
func (k *keys) own(r *record, epoch uint64) *record {
	if r.epoch == epoch {
		return r
	}
	c := *r
	c.epoch = epoch
	i, _ := slices.BinarySearchFunc(k.generations, r.hour, func(g generation, h int64) int { return int(g.hour - h) })
	k.generations[i].records[r.at] = &c
	k.byKey[r.key] = &c
	return &c
}

// drop removes up to limit forgotten records. It starts at the end of an hour, so that places stay valid.
func (k *keys) drop(hour int64, limit int) {
	for limit > 0 && len(k.generations) > 0 && forgotten(k.generations[0].hour, hour) {
		g := &k.generations[0]
		for ; limit > 0 && len(g.records) > 0; limit-- {
			last := len(g.records) - 1
			if r := g.records[last]; k.byKey[r.key] == r {
				delete(k.byKey, r.key)
			}
			g.records[last] = nil
			g.records = g.records[:last]
			k.count--
		}
		if len(g.records) == 0 {
			k.generations = slices.Delete(k.generations, 0, 1)
		}
	}
}

// checkAge refuses a key whose own time says that it may have been used and forgotten, or could be used again
// after it was forgotten.
func checkAge(key string, now int64) error {
	issued, ok := issuedAt(key)
	switch age := time.Unix(0, now).Sub(issued); {
	case ok && age > keyWindow:
		return fmt.Errorf("%w: %q was made %s ago, keys count for %s", ErrTooOld, key, age.Round(time.Second), keyWindow)
	case ok && age < -keySkew:
		return fmt.Errorf("%w: key %q is from %s ahead", ErrInvalid, key, -age.Round(time.Second))
	}
	return nil
}

// issuedAt reads the time out of a UUIDv7 or ULID. Whatever looks like one is taken for one.
func issuedAt(key string) (time.Time, bool) {
	switch len(key) {
	case uuidLength:
		if id, err := uuid.Parse(key); err == nil && id.Version() == 7 {
			var ms int64
			for _, b := range id[:6] {
				ms = ms<<8 | int64(b)
			}
			return time.UnixMilli(ms), true
		}
	case ulid.EncodedSize:
		if id, err := ulid.ParseStrict(key); err == nil {
			return time.UnixMilli(int64(id.Time())), true
		}
	}
	return time.Time{}, false
}
