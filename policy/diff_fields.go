package policy

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-cluster/weir/limiter"
)

// field is a field of the language and its value as a policy writes it.
type field struct{ name, value string }

// diffFields compares fields that stand in the same order.
func diffFields(was, is []field) (all []FieldChange) {
	for i := range was {
		if was[i] != is[i] {
			all = append(all, FieldChange{was[i].name, was[i].value, is[i].value})
		}
	}
	return all
}

// fields returns what the policy says of the domain itself.
func (d *Domain) fields() []field {
	var http, order []string
	for i, a := range d.http {
		place := strings.TrimSpace(a.Part.String() + " " + a.Header)
		if i > 0 && d.http[i-1].Attribute == a.Attribute {
			http[len(http)-1] += " or " + place
		} else {
			http = append(http, a.Attribute+": "+place)
		}
	}
	slices.Sort(http) // only the order of alternatives has a meaning
	for _, k := range d.order {
		order = append(order, k.String())
	}
	payer := d.payer
	if len(payer) == 0 {
		payer = d.account
	}
	return []field{
		{"account", listWords(d.account)},
		{"payer", listWords(payer)},
		{"unmatched", choose(d.denyUnmatched, "deny", "allow")},
		{"headers", d.headers},
		{"http", listWords(http)},
		{"meters", listWords(d.meters)},
		{"order", listWords(order)},
	}
}

func (l *limit) fields(d *Domain) []field {
	rate, count, window, zone, ttl, burst := "", strconv.FormatInt(l.bound.Count, 10), durationWords(l.bound.Period), "", "", ""
	switch l.bound.Algorithm {
	case limiter.TokenBucket:
		rate, count, window, burst = rateWords(&l.bound), "", "", strconv.FormatInt(l.bound.Burst, 10)
	case limiter.CalendarWindow:
		if window, zone = l.bound.Calendar.String(), "UTC"; l.bound.Zone != nil {
			zone = l.bound.Zone.String()
		}
	case limiter.Concurrency:
		window, ttl = "", window
	}
	drained := l.bound.Cold == limiter.ColdDrained || l.bound.Cold == limiter.ColdDefault && l.bound.Algorithm == limiter.TokenBucket
	return []field{
		{"match", matchWords(l.match)},
		{"key", listWords(l.key)},
		{"algorithm", l.bound.Algorithm.String()},
		{"meter", d.meters[l.meter]},
		{"rate", rate},
		{"burst", burst},
		{"limit", count},
		{"window", window},
		{"time_zone", zone},
		{"ttl", ttl},
		{"spill", strconv.FormatBool(l.spill)},
		{"on_deny", choose(l.charge, "charge", "keep")},
		{"shadow", strconv.FormatBool(l.shadow)},
		{"fallback", fallbackWords[l.fallback]},
		{"cold_start", choose(drained, "drained", "fresh")},
		{"takeover", choose(l.bound.Takeover == limiter.TakeoverEmpty, "empty", "copy")},
	}
}

func (p *price) fields(d *Domain) []field {
	var per []string
	for m, pico := range p.per {
		if pico > 0 {
			per = append(per, d.meters[m]+": "+priceWords(pico))
		}
	}
	return []field{{"match", matchWords(p.match)}, {"per", listWords(per)}}
}

func choose(yes bool, then, otherwise string) string {
	if yes {
		return then
	}
	return otherwise
}

// listWords writes a list as YAML does, an empty one as nothing.
func listWords(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// matchWords writes a match in the order of its attributes' names, which has no meaning.
func matchWords(match []condition) string {
	all := make([]string, len(match))
	for i := range match {
		all[i] = match[i].String()
	}
	slices.Sort(all)
	return listWords(all)
}

// durationWords writes a duration as a policy does, whole days as 7d.
func durationWords(d time.Duration) string {
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	return plainDuration(d)
}

func rateWords(l *limiter.Limit) string {
	count := strconv.FormatInt(l.Count, 10)
	switch l.Period {
	case time.Second:
		return count + "/s"
	case time.Minute:
		return count + "/min"
	case time.Hour:
		return count + "/h"
	case day:
		return count + "/d"
	}
	return count + "/" + durationWords(l.Period)
}

// priceWords writes pico-credits as the decimal that parsePrice reads.
func priceWords(pico int64) string {
	whole, rest := strconv.FormatInt(pico/picoPerCredit, 10), strconv.FormatInt(pico%picoPerCredit, 10)
	rest = strings.TrimRight(strings.Repeat("0", priceDigits-len(rest))+rest, "0")
	return whole + choose(rest == "", "", "."+rest)
}
