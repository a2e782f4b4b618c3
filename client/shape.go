package client

import (
	"hash/maphash"
	"slices"
	"strings"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

const meterRequests = "requests" // the meter that every domain has; one, unless a cost names it

// shaper names what decides which limits a request meets, and nothing else: its domain, its attributes, and which
// meters it uses. The seed is the process's own, so nobody can choose attributes that meet another's.
type shaper struct{ seed maphash.Seed }

// shape is the name of a request on the wire, whose attributes and costs are sorted.
func (s shaper) shape(r *weirv1.CheckRequest) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	word(&h, r.GetDomain())
	for _, a := range r.GetAttributes() {
		word(&h, a.GetName())
		word(&h, a.GetValue())
	}
	_ = h.WriteByte(0xff) // a length never begins so: names are shorter
	for _, c := range r.GetCost() {
		if c.GetAmount() != 0 {
			word(&h, c.GetMeter())
		}
	}
	return h.Sum64()
}

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

// onWire is a request as it is sent, in an order that does not depend on the maps'.
func (r *CheckRequest) onWire() *weirv1.CheckRequest {
	out := &weirv1.CheckRequest{
		Domain: r.Domain, IdempotencyKey: r.IdempotencyKey, Ticket: r.Ticket, MaxWaitMs: r.MaxWaitMS,
		Explain: r.Explain, Cost: costsOnWire(r.Cost),
	}
	switch r.Mode {
	case Peek:
		out.Mode = weirv1.Mode_MODE_PEEK
	case Reserve:
		out.Mode = weirv1.Mode_MODE_RESERVE
	default:
		out.Mode = weirv1.Mode_MODE_CONSUME
	}
	if len(r.Attributes) == 0 {
		return out
	}
	room := make([]weirv1.Attribute, len(r.Attributes))
	out.Attributes = make([]*weirv1.Attribute, 0, len(r.Attributes))
	for name, value := range r.Attributes {
		a := &room[len(out.Attributes)]
		a.Name, a.Value = name, value
		out.Attributes = append(out.Attributes, a)
	}
	slices.SortFunc(out.Attributes, func(a, b *weirv1.Attribute) int { return strings.Compare(a.Name, b.Name) })
	return out
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
func used(r *weirv1.CheckRequest, meter string) int64 {
	for _, c := range r.GetCost() {
		if c.GetMeter() == meter {
			return c.GetAmount()
		}
	}
	if meter == meterRequests {
		return 1
	}
	return 0
}
