package client

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"unicode/utf8"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

const meterRequests = "requests" // the meter that every domain has; one, unless a cost names it

// shaper names what decides which limits a request meets, and nothing else: its domain, its attributes, and which
// meters it uses. The seed is the process's own, so nobody can choose attributes that meet another's.
type shaper struct{ seed maphash.Seed }

// share names the bucket that a limit has for an account.
func (s shaper) share(domain, account, limit string) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	word(&h, domain)
	word(&h, account)
	word(&h, limit)
	return h.Sum64()
}

// word writes a length and a text, so that texts side by side cannot be taken for others.
func word(h *maphash.Hash, text string) {
	n := len(text)
	_, _ = h.Write([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	_, _ = h.WriteString(text)
}

// asked is a request as it is sent.
type asked struct {
	*CheckRequest
	shape   uint64
	encoded string // as a weirv1.CheckRequest
}

// pair is an attribute or, with an amount, a cost.
type pair struct {
	name, value string
	amount      int64
}

const (
	pairsUsual = 8   // attributes or costs for which nothing is allocated
	bytesUsual = 512 // of a request
)

// encode writes a request by hand, in an order that does not depend on the maps', and names its shape. It returns ErrInvalid
// for what validate is about.
func (s shaper) encode(q *CheckRequest) (asked, error) {
	if err := q.validate(); err != nil {
		return asked{}, err
	}
	var attributeRoom, costRoom [pairsUsual]pair
	attributes, err := q.attributes(attributeRoom[:0])
	if err != nil {
		return asked{}, err
	}
	costs, err := q.costs(costRoom[:0])
	if err != nil {
		return asked{}, err
	}
	var room [bytesUsual]byte
	b := appendText(room[:0], 1, q.Domain)
	for _, a := range attributes {
		b = appendSize(b, 2, sizeText(a.name)+sizeText(a.value))
		b = appendText(appendText(b, 1, a.name), 2, a.value)
	}
	end := len(b)
	for _, c := range costs { // of costs only the meters are part of the shape
		if c.amount != 0 {
			b = appendText(b, 3, c.name)
		}
	}
	shape := maphash.Bytes(s.seed, b)
	b = b[:end]
	for _, c := range costs {
		b = appendSize(b, 3, sizeText(c.name)+sizeNumber(uint64(c.amount)))
		b = appendNumber(appendText(b, 1, c.name), 2, uint64(c.amount))
	}
	b = appendText(appendText(b, 4, q.IdempotencyKey), 5, q.Ticket)
	b = appendNumber(appendNumber(b, 6, uint64(q.MaxWaitMS)), 7, uint64(q.mode()))
	if q.Explain {
		b = appendNumber(b, 8, 1)
	}
	return asked{q, shape, string(b)}, nil
}

// attributes returns the attributes by name, or ErrInvalid.
func (q *CheckRequest) attributes(room []pair) ([]pair, error) {
	for name, value := range q.Attributes {
		if len(name) > nameBytesMax || len(value) > valueBytesMax || !utf8.ValidString(name) || !utf8.ValidString(value) {
			return nil, fmt.Errorf("%w: an attribute is not UTF-8 with a name of at most %d bytes and a value of at most %d",
				ErrInvalid, nameBytesMax, valueBytesMax)
		}
		room = append(room, pair{name: name, value: value})
	}
	slices.SortFunc(room, byName)
	return room, nil
}

// costs returns the costs by meter, or ErrInvalid.
func (q *CheckRequest) costs(room []pair) ([]pair, error) {
	for meter, amount := range q.Cost {
		if len(meter) > nameBytesMax || !utf8.ValidString(meter) {
			return nil, fmt.Errorf("%w: a meter is not UTF-8 of at most %d bytes", ErrInvalid, nameBytesMax)
		}
		room = append(room, pair{name: meter, amount: amount})
	}
	slices.SortFunc(room, byName)
	return room, nil
}

func byName(a, b pair) int { return strings.Compare(a.name, b.name) }

func (q *CheckRequest) mode() weirv1.Mode {
	switch q.Mode {
	case Peek:
		return weirv1.Mode_MODE_PEEK
	case Reserve:
		return weirv1.Mode_MODE_RESERVE
	default:
		return weirv1.Mode_MODE_CONSUME
	}
}

func costsOnWire(cost map[string]int64) []*weirv1.Cost {
	if len(cost) == 0 {
		return nil
	}
	out := make([]*weirv1.Cost, 0, len(cost))
	for meter, amount := range cost {
		out = append(out, &weirv1.Cost{Meter: meter, Amount: amount})
	}
	slices.SortFunc(out, func(a, b *weirv1.Cost) int { return strings.Compare(a.Meter, b.Meter) })
	return out
}

// used is how much of a meter a request uses.
func (q *CheckRequest) used(meter string) int64 { return usedOf(q.Cost, meter) }

func usedOf(cost map[string]int64, meter string) int64 {
	if amount, named := cost[meter]; named || meter != meterRequests {
		return amount
	}
	return 1
}
