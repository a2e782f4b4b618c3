package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // for hosts and containers that have no zone data

	"github.com/weir-cluster/weir/limiter"
	"go.yaml.in/yaml/v3"
)

// boundFields are the fields of a limit that say how much it admits, and which algorithms have each.
var boundFields = [...]struct {
	field      string
	algorithms []string
}{
	{"rate", []string{"token_bucket"}},
	{"burst", []string{"token_bucket"}},
	{"limit", []string{"fixed_window", "sliding_window", "rolling_log", "calendar_window", "concurrency"}},
	{"window", []string{"fixed_window", "sliding_window", "rolling_log", "calendar_window"}},
	{"time_zone", []string{"calendar_window"}},
	{"ttl", []string{"concurrency"}},
	{"cold_start", []string{"token_bucket", "fixed_window", "sliding_window", "rolling_log", "calendar_window"}},
	{"takeover", []string{"token_bucket", "fixed_window", "sliding_window", "rolling_log", "calendar_window"}},
}

// The words of the algorithms and of the calendar, as limiter writes them.
var (
	algorithmWords = []string{"token_bucket", "fixed_window", "sliding_window", "rolling_log", "calendar_window", "concurrency"}
	calendarWords  = []string{"day", "week", "month", "year"}
)

func (r *reader) limits(n *yaml.Node, d *Domain) {
	count, elements := r.rules(n, "a list of limits", limitsMax)
	lines := make(map[string]int, count)
	d.limits = make([]limit, 0, count)
	for e := range elements {
		l := r.limit(e, d)
		if line, dup := lines[l.name]; dup && l.name != "" {
			r.wrong(e, "a second limit `"+l.name+"`", fmt.Sprintf("each name once (first on line %d)", line))
		}
		lines[l.name] = e.Line
		d.limits = append(d.limits, l)
	}
}

func (r *reader) limit(n *yaml.Node, d *Domain) (l limit) {
	f := r.rowFields(n, "a limit", limitFields...)
	if n.Kind != yaml.MappingNode {
		return l
	}
	if v := r.need(f, n, "name", "limit", "a name, such as name: user-rpm"); v != nil {
		l.name = r.name(v, "limit")
	}
	if v := f["match"]; v != nil {
		l.match = r.conditionsOf(v)
	}
	if v := r.need(f, n, "key", "limit", "the attributes that tell its buckets apart, such as key: [user]"); v != nil {
		l.key = r.attributes(v)
		for _, a := range d.account {
			if !slices.Contains(l.key, a) {
				r.wrong(v, "a key without `"+short(a)+"`", "every attribute of the account ["+short(strings.Join(d.account, ", "))+"] (pools that accounts share are not supported yet)")
				break
			}
		}
	}
	if v := f["meter"]; v != nil {
		l.meter = uint8(max(r.meter(v, d), 0))
	}
	if v := f["spill"]; v != nil {
		l.spill = r.truth(v)
	}
	if v := f["shadow"]; v != nil {
		l.shadow = r.truth(v)
	}
	if v := f["on_deny"]; v != nil {
		on := r.choice(v, "keep", "charge")
		l.keep = on == "keep"
		if l.charge = on == "charge"; l.charge && l.spill {
			r.wrong(v, "`charge` with spill: true", "on_deny: keep (what spills is paid for, not refused)")
		}
	}
	l.spill = l.spill && !l.shadow // who refuses nothing sends nothing on to credit
	if v := f["fallback"]; v != nil {
		l.fallback = fallbackKind(max(slices.Index(fallbackWords[:], r.choice(v, fallbackWords[:]...)), 0))
	}
	r.algorithm(f, n, &l)
	var room [2 * nameMax]byte
	l.prefix = r.bytes.keep(l.frame(room[:0], d.name))
	return l
}

func (r *reader) algorithm(f map[string]*yaml.Node, n *yaml.Node, l *limit) {
	v := f["algorithm"]
	if v == nil {
		r.need(f, n, "algorithm", "limit", "algorithm: "+strings.Join(algorithmWords, ", "))
		return
	}
	before := len(r.mistakes)
	algorithm := r.choice(v, algorithmWords...)
	if algorithm == "" {
		return
	}
	for _, b := range boundFields {
		if v := f[b.field]; v != nil && !slices.Contains(b.algorithms, algorithm) {
			r.wrong(v, fmt.Sprintf("`%s` with %s", b.field, algorithm), "it only with "+strings.Join(b.algorithms, ", "))
		}
	}
	l.bound.Algorithm = limiter.Algorithm(slices.Index(algorithmWords, algorithm))
	at := n
	switch l.bound.Algorithm {
	case limiter.TokenBucket:
		at = r.bucket(f, n, l)
	case limiter.Concurrency:
		at = r.slots(f, n, l)
	default:
		at = r.window(f, n, l, algorithm)
	}
	if c := f["cold_start"]; c != nil {
		l.bound.Cold = limiter.ColdDrained
		if r.choice(c, "drained", "fresh") == "fresh" {
			l.bound.Cold = limiter.ColdFresh
		}
	}
	if v := f["takeover"]; v != nil && r.choice(v, "copy", "empty") == "empty" {
		l.bound.Takeover = limiter.TakeoverEmpty
	}
	if len(r.mistakes) > before {
		return
	}
	if err := l.bound.Validate(); err != nil {
		r.wrong(at, "a limit that cannot be kept ("+err.Error()+")", "one within the bounds")
	}
}

// bucket reads what a token bucket admits, and returns the node that says most of it.
func (r *reader) bucket(f map[string]*yaml.Node, n *yaml.Node, l *limit) *yaml.Node {
	at := r.need(f, n, "rate", "token_bucket", "a rate, such as rate: 60/min")
	if at != nil {
		l.bound.Count, l.bound.Period = r.rate(at)
	}
	if l.bound.Burst = l.bound.Count; f["burst"] != nil {
		l.bound.Burst = r.whole(f["burst"], 1, countMax)
	}
	return at
}

// window reads what a window of any kind admits.
func (r *reader) window(f map[string]*yaml.Node, n *yaml.Node, l *limit, algorithm string) *yaml.Node {
	at := r.need(f, n, "limit", algorithm, "how much a window admits, such as limit: 600")
	if at != nil {
		l.bound.Count = r.whole(at, 1, countMax)
	}
	calendar := l.bound.Algorithm == limiter.CalendarWindow
	example := "window: 1h"
	if calendar {
		example = "window: " + strings.Join(calendarWords, ", ")
	}
	w := r.need(f, n, "window", algorithm, "its length, such as "+example)
	switch {
	case w == nil:
	case calendar:
		l.bound.Calendar = limiter.Calendar(max(slices.Index(calendarWords, r.choice(w, calendarWords...)), 0))
	default:
		l.bound.Period = r.duration(w, "a duration, such as 90s, 1h or 7d")
	}
	if z := f["time_zone"]; z != nil {
		l.bound.Zone = r.zone(z)
	}
	return at
}

// slots reads how many requests may be in flight, and for how long each is thought to be.
func (r *reader) slots(f map[string]*yaml.Node, n *yaml.Node, l *limit) *yaml.Node {
	at := r.need(f, n, "limit", "concurrency", "how many may be in flight, such as limit: 4")
	if at != nil {
		l.bound.Count = r.whole(at, 1, countMax)
	}
	if w := r.need(f, n, "ttl", "concurrency", "after how long a slot frees itself, such as ttl: 10m"); w != nil {
		l.bound.Period = r.duration(w, "a duration, such as 90s or 10m")
	}
	if m := f["meter"]; m != nil && l.meter != meterRequests {
		r.wrong(m, "`"+short(m.Value)+"` with concurrency", "requests, which is what is in flight")
	}
	if l.spill {
		r.wrong(f["spill"], "`spill` with concurrency", "it only with the other algorithms (credit buys no slot)")
	}
	if l.charge {
		r.wrong(f["on_deny"], "`charge` with concurrency", "on_deny: keep (what is refused is not in flight)")
	}
	return at
}

// zone reads the name of a time zone. Where the system has no zone data, what this program carries serves.
func (r *reader) zone(n *yaml.Node) *time.Location {
	const expected = "a time zone, such as UTC or Europe/Berlin"
	w, ok := r.text(n, expected)
	if !ok {
		return nil
	}
	if z := r.zones[w]; z != nil {
		return z
	}
	z, err := time.LoadLocation(w)
	if err != nil || w == "Local" {
		r.wrong(n, describe(n), expected)
		return nil
	}
	if r.zones == nil {
		r.zones = map[string]*time.Location{}
	}
	r.zones[w] = z // there are as many as the system knows
	return z
}

// need returns a field that must be there.
func (r *reader) need(f map[string]*yaml.Node, n *yaml.Node, field, what, expected string) *yaml.Node {
	if f[field] == nil {
		r.wrong(n, fmt.Sprintf("a %s without `%s`", what, field), expected)
	}
	return f[field]
}
