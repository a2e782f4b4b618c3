package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weir-cluster/weir/limiter"
	"github.com/weir-cluster/weir/ring"
)

// entryBytesMax bounds the key and the value of one entry of an Envoy descriptor together. Entries hold header values,
// so they may be longer than attributes.
const entryBytesMax = 8 << 10

// EnvoyTree is a domain that is written as an Envoy rate limit configuration: a tree of descriptors. A request to it is
// one descriptor: its attributes are the descriptor's entries, in order, and one name may come twice. Its account is
// its bucket. It is immutable.
type EnvoyTree struct {
	domain string
	root   envoyLevel
	rules  int
}

// EnvoyRule is the `rate_limit` of a descriptor, and the settings beside it. It is immutable.
type EnvoyRule struct {
	Name      string    // as configured, empty for most rules
	Count     uint32    // requests per unit; 0 admits none
	Unit      EnvoyUnit // 0 when Unlimited
	Unlimited bool
	Shadow    bool     // counts, but never refuses
	Quota     bool     // refuses only together with all other quota rules of a call
	Replaces  []string // names of rules that are not asked when this one matches in the same call
	Metadata  []byte   // a JSON object, nil when there is none

	limit limit // named by its path when Name is empty
}

// EnvoyUnit is a unit of Envoy's rate limits. Its values are those of envoy.service.ratelimit.v3.
type EnvoyUnit uint8

// The units. A month is 30 days and a year 365; windows are aligned to the Unix epoch.
const (
	EnvoySecond EnvoyUnit = iota + 1
	EnvoyMinute
	EnvoyHour
	EnvoyDay
	EnvoyMonth
	EnvoyYear
	EnvoyWeek
)

var envoyUnitWords = [...]string{
	EnvoySecond: "second", EnvoyMinute: "minute", EnvoyHour: "hour", EnvoyDay: "day",
	EnvoyMonth: "month", EnvoyYear: "year", EnvoyWeek: "week",
}

var envoyWindows = [...]time.Duration{
	EnvoySecond: time.Second, EnvoyMinute: time.Minute, EnvoyHour: time.Hour, EnvoyDay: day,
	EnvoyMonth: 30 * day, EnvoyYear: 365 * day, EnvoyWeek: 7 * day,
}

// String returns the unit as a configuration writes it, such as minute.
func (u EnvoyUnit) String() string { return word(envoyUnitWords[:], int(u)) }

// Window returns the length of the unit, 0 for one that there is not.
func (u EnvoyUnit) Window() time.Duration {
	if int(u) < len(envoyWindows) {
		return envoyWindows[u]
	}
	return 0
}

// envoyLevel is the descriptors below one node of the tree.
type envoyLevel struct {
	exact    map[Attribute]*envoyNode // by key and value
	prefixed []envoyPrefix            // in the order of the file
	anyValue map[string]*envoyNode    // by key
}

type envoyPrefix struct {
	key, prefix string
	node        *envoyNode
}

type envoyNode struct {
	rule   *EnvoyRule // nil when the descriptor has no rate_limit
	next   envoyLevel
	shared string // what stands in keys for every value that matches; empty when each counts for itself
}

// find returns the descriptor for an entry: that with its key and value, else the first whose prefix fits, else that
// with its key alone. There is no way back: a worse match is not tried when nothing fits below the best.
func (l *envoyLevel) find(e Attribute) *envoyNode {
	if n := l.exact[e]; n != nil {
		return n
	}
	for i := range l.prefixed {
		if p := &l.prefixed[i]; p.key == e.Name && strings.HasPrefix(e.Value, p.prefix) {
			return p.node
		}
	}
	return l.anyValue[e.Name]
}

// Envoy returns the tree of a domain that is written as one, nil for any other.
func (d *Domain) Envoy() *EnvoyTree { return d.envoy }

// Rule returns the rule for a descriptor with these entries, nil when there is none: the depth of the tree at which it
// stands is their number.
func (t *EnvoyTree) Rule(entries []Attribute) *EnvoyRule {
	level := &t.root
	for i, e := range entries {
		n := level.find(e)
		switch {
		case n == nil:
			return nil
		case i == len(entries)-1:
			return n.rule
		}
		level = &n.next
	}
	return nil
}

// bucket calls entry with each key and value that tells the descriptor's bucket apart, in order.
func (t *EnvoyTree) bucket(entries []Attribute, entry func(key, value string)) {
	level := &t.root
	for _, e := range entries {
		value := e.Value
		if level != nil {
			if n := level.find(e); n == nil {
				level = nil
			} else if level = &n.next; n.shared != "" {
				value = n.shared
			}
		}
		entry(e.Name, value)
	}
}

// account returns the account of a descriptor: the keys and values of its bucket, so that each bucket has a home of its
// own. It is written as other account ids are; what would be too long ends in a hash of the whole.
func (t *EnvoyTree) account(entries []Attribute) (Account, error) {
	if err := validEntries(entries); err != nil {
		return Account{}, err
	}
	id := make([]byte, 0, 128)
	t.bucket(entries, func(key, value string) {
		if len(id) > 0 {
			id = append(id, '~')
		}
		id = append(appendEscaped(id, key), '~')
		id = appendEscaped(id, value)
	})
	if len(id) > ring.AccountBytesMax {
		sum := sha256.Sum256(id)
		const hash = 2 * 16
		id = append(id[:ring.AccountBytesMax-hash-2], "~~"...)
		id = hex.AppendEncode(id, sum[:hash/2])
	}
	a := Account{Domain: t.domain, ID: string(id)}
	a.Payer, a.Partition = a.ID, ring.Partition(a.Domain, a.ID)
	return a, nil
}

// appendEscaped writes s as it stands in account ids.
func appendEscaped(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '@', c == '-':
			b = append(b, c)
		default:
			b = append(b, '=', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
		}
	}
	return b
}

// validEntries returns ErrInvalid for entries that no descriptor may have.
func validEntries(entries []Attribute) error {
	if len(entries) == 0 {
		return invalid("it has no attributes, and so no descriptor entries")
	}
	if err := fewAttributes(entries); err != nil {
		return err
	}
	for i := range entries {
		e := &entries[i]
		switch {
		case len(e.Name)+len(e.Value) > entryBytesMax:
			return invalid("the entry `%s` has %d bytes, at most %d are allowed", short(e.Name), len(e.Name)+len(e.Value), entryBytesMax)
		case !utf8.ValidString(e.Name) || !utf8.ValidString(e.Value):
			return invalid("the entry `%s` is not UTF-8", short(e.Name))
		}
	}
	return nil
}

// valid returns ErrInvalid for an override that cannot be kept, or in a domain that is no tree.
func (o *LimitOverride) valid(d *Domain) error {
	switch {
	case o == nil:
		return nil
	case d.envoy == nil:
		return invalid("it brings a limit along, but domain `%s` is not an Envoy tree", d.name)
	case o.Window < time.Second || o.Window > durationMax || o.Window%time.Second != 0:
		return invalid("the window %v of its limit is not a whole number of seconds up to 3660 days", o.Window)
	}
	return nil
}

// make finds the one limit that the request has to pass: its override's, else its rule's. What a limit refuses counts.
func (t *EnvoyTree) make(p *plan, h limiter.Hasher, r *Request) {
	l := t.limit(p, r)
	if l == nil {
		return
	}
	p.text = append(p.text[:0], framed(framed(nil, t.domain), "")...) // no limit's name is empty, so none begins like this
	p.text = framed(p.text, l.bound.Period.String())
	t.bucket(r.Attributes, func(key, value string) { p.text = framed(framed(p.text, key), value) })
	if g := p.special.generation(l.name); g > 0 {
		p.text = binary.AppendUvarint(p.text, g)
	}
	bound := &l.bound
	if own, ok := p.special.bound(l.name, p.at); ok && r.Override == nil {
		bound = own
	}
	p.limits = append(p.limits, l)
	p.takes = append(p.takes, limiter.Take{
		Key: h.Key(p.text), Limit: bound, Cost: p.cost[meterRequests], Meter: meterRequests, Whole: true, Charge: true, Shadow: l.shadow,
	})
}

// limit returns the limit for the request, nil when nothing is to be counted. One that the request brings along is never
// a shadow.
func (t *EnvoyTree) limit(p *plan, r *Request) *limit {
	rule := t.Rule(r.Attributes)
	p.matched = rule != nil || r.Override != nil
	switch {
	case r.Override != nil:
		name := "override"
		if rule != nil {
			name = rule.limit.name
		}
		return &limit{name: name, bound: envoyBound(r.Override.Count, r.Override.Window)}
	case rule == nil:
		if p.explain {
			p.step("envoy", "no match", fmt.Sprintf("no rule stands at these %d entries", len(r.Attributes)))
		}
		return nil
	case rule.Unlimited:
		if p.explain {
			p.step("limit "+rule.limit.name, "unlimited", "")
		}
		return nil
	}
	return &rule.limit
}

// envoyBound is a fixed window; a count of 0 admits nothing.
func envoyBound(count uint32, window time.Duration) limiter.Limit {
	return limiter.Limit{Algorithm: limiter.FixedWindow, Count: int64(count), Period: window}
}
