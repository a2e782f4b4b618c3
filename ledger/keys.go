package ledger

import (
	"cmp"
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

// record is what is remembered of a key.
type record struct {
	key      string
	op       op
	account  string
	intent   digest
	attempts uint64  // how often it came; 0 if that was not counted yet
	returned Credits // of a debit: how much of its parts was given back, counted from the last
	reply    string  // the first one; empty bars the key of a debit whose return came first

	at    place // where it was found
	found bool
}

func (r *record) wire(c *coder) {
	c.text(&r.key, KeyMax)
	c.word((*uint8)(&r.op), uint8(opCount))
	c.text(&r.account, AccountMax)
	c.fixed(r.intent[:])
	c.uint(&r.attempts)
	c.credits(&r.returned)
	c.bytes(&r.reply)
}

func readRecord(text string) (record, error) {
	var r record
	c := reader(text)
	r.wire(&c)
	return r, c.end()
}

func (r *record) barred() bool { return r.reply == "" }

// place is where a key's record stands: its hour, and where in that.
type place struct {
	hour int32
	slot uint32
}

type generation struct {
	hour    int64
	records pages
}

// keys is the idempotency table.
type keys struct {
	ids         index[place] // of the newest record of each key
	generations []generation // oldest first
	count       int          // of all records, forgotten ones too until they are dropped
	sum         sum
}

func newKeys() *keys {
	k := &keys{}
	k.ids = newIndex(func(at place) string { return idOf(k.generation(at.hour).records.at(at.slot)) })
	return k
}

// find reads the record of a key that is not forgotten.
func (k *keys) find(key string, hour int64) (r record, ok bool) {
	at, ok := k.ids.find(key)
	if !ok || forgotten(int64(at.hour), hour) {
		return record{}, false
	}
	r, err := readRecord(k.generation(at.hour).records.at(at.slot))
	if err != nil {
		panic("ledger: a key's own record: " + err.Error())
	}
	r.at, r.found = at, true
	return r, true
}

func (k *keys) generation(hour int32) *generation {
	i, _ := slices.BinarySearchFunc(k.generations, int64(hour), func(g generation, h int64) int { return cmp.Compare(g.hour, h) })
	return &k.generations[i]
}

// add remembers a key; the hour is not before that of any other.
func (k *keys) add(hour int64, record string) {
	n := len(k.generations)
	if n == 0 || k.generations[n-1].hour < hour {
		k.generations = append(k.generations, generation{hour: hour})
		n++
	}
	slot := k.generations[n-1].records.push(record)
	k.ids.set(idOf(record), place{int32(hour), slot})
	k.sum.add(sumKeys, record)
	k.count++
}

// replace puts another record of the same key into its place.
func (k *keys) replace(at place, record string) {
	records := &k.generation(at.hour).records
	k.sum.remove(sumKeys, records.at(at.slot))
	records.set(at.slot, record)
	k.sum.add(sumKeys, record)
}

// due tells whether drop has something to do.
func (k *keys) due(hour int64) bool {
	return len(k.generations) > 0 && forgotten(k.generations[0].hour, hour)
}

// drop removes up to limit forgotten records. It starts at the end of an hour, so that places stay valid.
func (k *keys) drop(hour int64, limit int) {
	for limit > 0 && k.due(hour) {
		g := &k.generations[0]
		for ; limit > 0 && g.records.size > 0; limit-- {
			slot := uint32(g.records.size - 1)
			text := g.records.at(slot)
			k.ids.remove(idOf(text), place{int32(g.hour), slot})
			k.sum.remove(sumKeys, text)
			g.records.pop()
			k.count--
		}
		if g.records.size == 0 {
			k.generations = slices.Delete(k.generations, 0, 1)
		}
	}
}

// freeze returns the generations as they are now.
func (k *keys) freeze() []generation {
	frozen := make([]generation, len(k.generations))
	for i := range k.generations {
		frozen[i] = generation{k.generations[i].hour, k.generations[i].records.freeze()}
	}
	return frozen
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
