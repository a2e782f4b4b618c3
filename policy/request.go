package policy

import (
	"slices"
	"unicode/utf8"
)

const (
	amountMax = 1 << 40 // units of a meter in one request
	waitMax   = day
)

// amounts is how much of each of a domain's meters something uses.
type amounts [metersMax]int64

// Standing returns the request to ask how every limit that applies to the attributes stands, whatever its meter: a PEEK
// that costs nothing. Its decision has the limits, with what is left, until when, and what is overridden; its reason is
// BLOCKED for a blocked account. The slice is not copied.
func Standing(domain string, attributes []Attribute) Request {
	return Request{Domain: domain, Attributes: attributes, Cost: []Cost{{Meter: knownMeters[meterRequests]}}, Mode: Peek}
}

// Validate returns ErrInvalid, saying what is wrong, for a request that no home may decide: it breaks a bound, or
// names what the policy does not know. Waterfall and Fallback check it themselves; a door may ask earlier.
func (p *Policy) Validate(r Request) error {
	d, err := p.Domain(r.Domain)
	if err != nil {
		return err
	}
	_, err = d.validate(&r)
	return err
}

// validate returns the cost of a valid request, by meter.
func (d *Domain) validate(r *Request) (amounts, error) {
	valid := validAttributes
	if d.envoy != nil {
		valid = validEntries
	}
	if err := valid(r.Attributes); err != nil {
		return amounts{}, err
	}
	if err := r.Override.valid(d); err != nil {
		return amounts{}, err
	}
	switch {
	case r.Mode > Reserve:
		return amounts{}, invalid("mode %d is none of CONSUME, PEEK, RESERVE", r.Mode)
	case len(r.IdempotencyKey) > KeyMax:
		return amounts{}, invalid("the idempotency key has %d bytes, at most %d are allowed", len(r.IdempotencyKey), KeyMax)
	case !utf8.ValidString(r.IdempotencyKey):
		return amounts{}, invalid("the idempotency key is not UTF-8")
	case r.MaxWait < 0 || r.MaxWait > waitMax:
		return amounts{}, invalid("a wait of %v is outside 0 to %v", r.MaxWait, waitMax)
	case r.Ticket != "":
		return amounts{}, invalid("it has a ticket, but domain `%s` has no queue", d.name)
	}
	cost, err := d.amounts(r.Cost)
	if err != nil {
		return amounts{}, err
	}
	if !names(r.Cost, knownMeters[meterRequests]) {
		cost[meterRequests] = 1
	}
	if cost == (amounts{}) && r.Mode != Peek {
		return amounts{}, invalid("it costs nothing of any meter; to look without taking, use the mode PEEK")
	}
	return cost, nil
}

// amounts sums up what is named, by meter.
func (d *Domain) amounts(costs []Cost) (amounts, error) {
	var a amounts
	if len(costs) > metersMax {
		return a, invalid("it names %d meters, at most %d are allowed", len(costs), metersMax)
	}
	for i, c := range costs {
		m := slices.Index(d.meters, c.Meter)
		switch {
		case m < 0:
			return a, invalid("domain `%s` has no meter `%s`%s", d.name, short(c.Meter), didYouMean(c.Meter, d.meters))
		case names(costs[:i], c.Meter):
			return a, invalid("it names the meter `%s` twice", c.Meter)
		case c.Amount < 0:
			return a, invalid("its cost of %d %s is negative", c.Amount, c.Meter)
		case c.Amount > amountMax:
			return a, invalid("its cost of %d %s is above the bound, at most %d is allowed", c.Amount, c.Meter, int64(amountMax))
		}
		a[m] = c.Amount
	}
	return a, nil
}

func names(costs []Cost, meter string) bool {
	for i := range costs {
		if costs[i].Meter == meter {
			return true
		}
	}
	return false
}

func fewAttributes(attributes []Attribute) error {
	if len(attributes) > AttributesMax {
		return invalid("it has %d attributes, at most %d are allowed", len(attributes), AttributesMax)
	}
	return nil
}

func validAttributes(attributes []Attribute) error {
	if err := fewAttributes(attributes); err != nil {
		return err
	}
	for i := range attributes {
		a := &attributes[i]
		switch {
		case a.Name == "":
			return invalid("an attribute has no name")
		case len(a.Name) > AttributeNameMax:
			return invalid("the name of attribute `%s` has %d bytes, at most %d are allowed", short(a.Name), len(a.Name), AttributeNameMax)
		case len(a.Value) > AttributeValueMax:
			return invalid("the value of attribute `%s` has %d bytes, at most %d are allowed", short(a.Name), len(a.Value), AttributeValueMax)
		case !utf8.ValidString(a.Name) || !utf8.ValidString(a.Value):
			return invalid("attribute `%s` is not UTF-8", short(a.Name))
		}
		for j := range i {
			if attributes[j].Name == a.Name {
				return invalid("it names the attribute `%s` twice", a.Name)
			}
		}
	}
	return nil
}
