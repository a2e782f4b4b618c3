package policy

import (
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/weir-cluster/weir/ledger"
	"go.yaml.in/yaml/v3"
)

const (
	day           = 24 * time.Hour
	durationMax   = 3660 * day
	picoPerCredit = 1_000_000_000_000
	picoPerMicro  = 1_000_000
	priceMax      = 1_000_000 // credits a unit: times picoPerCredit this still fits an int64
	priceDigits   = 12        // after the point
)

// parseDuration reads a duration as Go writes it, which may begin with whole days: 1h30m, 7d, 1d12h.
func parseDuration(s string) (time.Duration, bool) {
	var d time.Duration
	if days, rest, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, false
		}
		if d = time.Duration(n) * day; rest == "" {
			return d, d > 0 && d <= durationMax
		}
		s = rest
	}
	rest, err := time.ParseDuration(s)
	d += rest
	return d, err == nil && rest >= 0 && rest <= durationMax && d > 0 && d <= durationMax
}

// parseRate reads N/s, N/min, N/h, N/d, and N/10s with any duration.
func parseRate(s string) (count int64, period time.Duration, ok bool) {
	number, unit, found := strings.Cut(s, "/")
	if !found || strings.HasPrefix(number, "+") {
		return 0, 0, false
	}
	count, err := strconv.ParseInt(number, 10, 64)
	if err != nil || count < 1 {
		return 0, 0, false
	}
	switch unit {
	case "s":
		return count, time.Second, true
	case "min":
		return count, time.Minute, true
	case "h":
		return count, time.Hour, true
	case "d":
		return count, day, true
	}
	period, ok = parseDuration(unit)
	return count, period, ok
}

// parsePrice reads a decimal number of credits exactly, as pico-credits.
func parsePrice(s string) (pico int64, ok bool) {
	whole, fraction, point := strings.Cut(s, ".")
	if point && fraction == "" || len(fraction) > priceDigits || strings.HasPrefix(whole, "+") {
		return 0, false
	}
	credits, err := strconv.ParseUint(whole, 10, 32)
	if err != nil || credits > priceMax {
		return 0, false
	}
	rest, err := strconv.ParseUint(fraction+strings.Repeat("0", priceDigits-len(fraction)), 10, 64)
	if err != nil {
		return 0, false
	}
	pico = int64(credits*picoPerCredit + rest)
	return pico, pico > 0 && pico <= priceMax*picoPerCredit
}

// price is a row of a domain's price table: what a unit of each meter costs, in pico-credits, 0 where it has none.
type price struct {
	match []condition
	per   amounts
}

// of returns what units cost in all: summed exactly, rounded up once to a micro-credit. It reports false when the
// row has no price for a meter of which there are units, or nobody could pay.
func (p *price) of(units *amounts) (ledger.Credits, bool) {
	var hi, lo uint64
	for m, n := range units {
		if n == 0 {
			continue
		}
		if p.per[m] == 0 {
			return 0, false
		}
		// 16 meters of at most 2^41 units at 2^60 pico-credits: far below 2^128.
		h, l := bits.Mul64(uint64(n), uint64(p.per[m]))
		var carry uint64
		lo, carry = bits.Add64(lo, l, 0)
		hi += h + carry
	}
	lo, carry := bits.Add64(lo, picoPerMicro-1, 0)
	if hi += carry; hi >= picoPerMicro {
		return 0, false
	}
	micros, _ := bits.Div64(hi, lo, picoPerMicro)
	if micros > uint64(ledger.CreditsMax) {
		return 0, false
	}
	return ledger.Credits(micros), true
}

func (r *reader) duration(n *yaml.Node, expected string) time.Duration {
	w, ok := r.text(n, expected)
	if !ok {
		return 0
	}
	d, ok := parseDuration(w)
	if !ok {
		r.wrong(n, describe(n), expected)
	}
	return d
}

// rate reads a rate; count is 0 after a mistake.
func (r *reader) rate(n *yaml.Node) (count int64, period time.Duration) {
	const expected = "a rate: N/s, N/min, N/h, N/d or N/10s"
	w, ok := r.text(n, expected)
	if !ok {
		return 0, 0
	}
	count, period, ok = parseRate(w)
	if ok {
		return count, period
	}
	hint := ""
	if number, unit, found := strings.Cut(w, "/"); found {
		for _, u := range [...]struct{ wrote, is string }{
			{"sec", "s"}, {"second", "s"}, {"m", "min"}, {"minute", "min"}, {"hour", "h"}, {"hr", "h"}, {"day", "d"},
		} {
			if unit == u.wrote {
				hint = "; did you mean `" + short(number) + "/" + u.is + "`?"
			}
		}
	}
	r.wrong(n, describe(n), expected+hint)
	return 0, 0
}

// prices reads the price table.
func (r *reader) prices(n *yaml.Node, d *Domain) {
	count, rows := r.rules(n, "a list of prices", pricesMax)
	d.prices = make([]price, 0, count)
	for row := range rows {
		f := r.rowFields(row, "a price", "match", "per")
		var p price
		if m := f["match"]; m != nil {
			p.match = r.conditionsOf(m)
		}
		per := f["per"]
		if per == nil {
			r.wrong(row, "a price without `per`", "what each meter costs, such as per: {requests: 0.01}")
			continue
		}
		if per.Kind == yaml.MappingNode && len(per.Content) == 0 {
			r.wrong(per, "no meters", "at least one, such as {requests: 0.01}")
		}
		for _, e := range r.pairs(per, "meters and what a unit costs in credits, such as {requests: 0.01}") {
			m := r.meter(e.key, d)
			w, ok := r.text(e.value, "a price in credits")
			if !ok {
				continue
			}
			pico, ok := parsePrice(w)
			if !ok {
				r.wrong(e.value, describe(e.value), "a price in credits: a decimal above 0 and up to 1000000, with at most 12 digits after the point")
			}
			if m >= 0 {
				p.per[m] = pico
			}
		}
		d.prices = append(d.prices, p)
	}
}
