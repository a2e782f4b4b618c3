package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/limiter"
	"go.yaml.in/yaml/v3"
)

const (
	languageVersion = 1
	domainsMax      = 1000
	limitsMax       = 10_000 // a domain
	pricesMax       = 10_000 // a domain
	countMax        = 1 << 40
	metersMax       = limiter.MetersMax
)

// The meters that every domain knows come first; requests is the one that is never split.
const meterRequests = 0

var knownMeters = [...]string{"requests", "tokens", "seconds"}

// The fields of each mapping of the language.
var (
	domainFields = []string{"account", "payer", "unmatched", "headers", "http", "meters", "limits", "prices", "order"}
	limitFields  = []string{"name", "match", "key", "algorithm", "meter", "rate", "limit", "window", "burst", "spill", "fallback"}
)

// Parse compiles a policy document; name is what its mistakes call the file. It reads nothing but text, so every node
// comes to the same result. The error, if any, is Mistakes. Text is copied.
func Parse(name string, text []byte) (*Policy, error) {
	r := &reader{file: name}
	p := &Policy{text: slices.Clone(text)}
	if root := r.load(text); root != nil {
		r.document(root, p)
	}
	if len(r.mistakes) > 0 {
		return nil, r.mistakes.sorted()
	}
	return p, nil
}

func (r *reader) document(root *yaml.Node, p *Policy) {
	f := r.fields(root, "a document", "version", "domains")
	if v := f["version"]; v == nil {
		r.wrong(root, "no `version`", "version: 1")
	} else if v.Tag != "!!int" || v.Value != "1" {
		r.wrong(v, describe(v), fmt.Sprintf("%d, the version of the language", languageVersion))
	}
	domains := f["domains"]
	if domains == nil {
		r.wrong(root, "no `domains`", "at least one domain")
		return
	}
	all := r.pairs(domains, "a mapping of domains")
	if domains.Kind == yaml.MappingNode && (len(all) == 0 || len(all) > domainsMax) {
		r.wrong(domains, fmt.Sprintf("%d domains", len(all)), fmt.Sprintf("1 to %d", domainsMax))
		return
	}
	p.domains = make(map[string]*Domain, len(all))
	for _, e := range all {
		d := &Domain{name: r.name(e.key, "domain"), headers: "ietf", meters: slices.Clone(knownMeters[:])}
		r.domain(e.value, d)
		p.domains[d.name] = d
		p.names = append(p.names, d.name)
	}
	slices.Sort(p.names)
}

func (r *reader) domain(n *yaml.Node, d *Domain) {
	f := r.fields(n, "a domain", domainFields...)
	if n.Kind != yaml.MappingNode {
		return
	}
	if a := f["account"]; a == nil {
		r.wrong(n, "no `account`", "the attributes that name the account, such as account: [user]")
	} else if d.account = r.attributes(a); len(d.account) == 0 {
		r.wrong(a, "no attributes", "at least one that names the account")
	}
	if a := f["payer"]; a != nil {
		if d.payer = r.attributes(a); len(d.payer) == 0 {
			r.wrong(a, "no attributes", "at least one that names who pays")
		}
	}
	if v := f["unmatched"]; v != nil {
		d.denyUnmatched = r.choice(v, "allow", "deny") == "deny"
	}
	if v := f["headers"]; v != nil {
		d.headers = r.choice(v, "ietf", "none")
	}
	if v := f["meters"]; v != nil {
		r.meters(v, d)
	}
	if v := f["limits"]; v != nil {
		r.limits(v, d)
	}
	if v := f["prices"]; v != nil {
		r.prices(v, d)
	}
	r.order(f["order"], d)
	if v := f["http"]; v != nil {
		r.http(v, d)
	}
	d.http = withDefaults(d)
}

func (r *reader) meters(n *yaml.Node, d *Domain) {
	for _, e := range r.list(n, "a list of meters beyond "+strings.Join(knownMeters[:], ", "), metersMax-len(knownMeters)) {
		w := r.name(e, "meter")
		if slices.Contains(d.meters, w) {
			r.wrong(e, "`"+w+"` again", "each meter once ("+strings.Join(knownMeters[:], ", ")+" are always there)")
			continue
		}
		d.meters = append(d.meters, w)
	}
}

// meter reads the name of one of the domain's meters; -1 after a mistake.
func (r *reader) meter(n *yaml.Node, d *Domain) int {
	return slices.Index(d.meters, r.choice(n, d.meters...))
}

// order reads which kinds of credit pay, and in which order; by default all of them.
func (r *reader) order(n *yaml.Node, d *Domain) {
	if n == nil {
		d.order = []ledger.Kind{ledger.Included, ledger.Promo, ledger.Credit, ledger.Overdraft}
		return
	}
	words := []string{"included", "promo", "credit", "overdraft"}
	elements := r.list(n, "a list of "+strings.Join(words, ", "), len(words))
	if n.Kind == yaml.SequenceNode && len(elements) == 0 {
		r.wrong(n, "an empty list", "at least one of "+strings.Join(words, ", "))
	}
	for _, e := range elements {
		w := r.choice(e, words...)
		i := slices.Index(words, w)
		if i < 0 {
			continue
		}
		k := [...]ledger.Kind{ledger.Included, ledger.Promo, ledger.Credit, ledger.Overdraft}[i]
		if slices.Contains(d.order, k) {
			r.wrong(e, "`"+w+"` again", "each kind once")
		}
		d.order = append(d.order, k)
	}
}

func (r *reader) http(n *yaml.Node, d *Domain) {
	attributes := r.fields(n, "HTTP settings", "attributes")["attributes"]
	if attributes == nil {
		return
	}
	all := r.pairs(attributes, "attributes and where they come from, such as {user: header X-User}")
	if len(all) > AttributesMax {
		r.wrong(attributes, fmt.Sprintf("%d attributes", len(all)), fmt.Sprintf("at most %d", AttributesMax))
		return
	}
	for _, e := range all {
		const expected = "`header` and the name of an HTTP header, such as header X-User"
		w, ok := r.text(e.value, expected)
		header, cut := strings.CutPrefix(w, "header ")
		if ok && (!cut || !headerName(header)) {
			r.wrong(e.value, describe(e.value), expected)
		}
		d.http = append(d.http, HTTPAttribute{Attribute: r.attribute(e.key), Header: header})
	}
}

func headerName(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') && s[i] != '-' && s[i] != '_' {
			return false
		}
	}
	return s != "" && len(s) <= nameMax
}

func (r *reader) limits(n *yaml.Node, d *Domain) {
	lines := map[string]int{}
	for _, e := range r.list(n, "a list of limits", limitsMax) {
		l := r.limit(e, d)
		if line, dup := lines[l.name]; dup && l.name != "" {
			r.wrong(e, "a second limit `"+l.name+"`", fmt.Sprintf("each name once (first on line %d)", line))
		}
		lines[l.name] = e.Line
		d.limits = append(d.limits, l)
	}
}

func (r *reader) limit(n *yaml.Node, d *Domain) (l limit) {
	f := r.fields(n, "a limit", limitFields...)
	if n.Kind != yaml.MappingNode {
		return l
	}
	if v := r.need(f, n, "name", "limit", "a name, such as name: user-rpm"); v != nil {
		l.name = r.name(v, "limit")
	}
	if v := f["match"]; v != nil {
		l.match = r.match(v)
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
	if v := f["fallback"]; v != nil {
		l.fallback = fallbackKind(max(slices.Index(fallbackWords[:], r.choice(v, fallbackWords[:]...)), 0))
	}
	r.algorithm(f, n, &l)
	l.prefix = l.frame(d.name)
	return l
}

func (r *reader) algorithm(f map[string]*yaml.Node, n *yaml.Node, l *limit) {
	v := r.need(f, n, "algorithm", "limit", "algorithm: token_bucket or fixed_window")
	if v == nil {
		return
	}
	before := len(r.mistakes)
	at := n
	switch r.choice(v, "token_bucket", "fixed_window") {
	case "token_bucket":
		r.unwanted(f, "token_bucket", "limit", "window")
		l.bound.Algorithm = limiter.TokenBucket
		if at = r.need(f, n, "rate", "token_bucket", "a rate, such as rate: 60/min"); at != nil {
			l.bound.Count, l.bound.Period = r.rate(at)
		}
		if l.bound.Burst = l.bound.Count; f["burst"] != nil {
			l.bound.Burst = r.whole(f["burst"], 1, countMax)
		}
	case "fixed_window":
		r.unwanted(f, "fixed_window", "rate", "burst")
		l.bound.Algorithm = limiter.FixedWindow
		if at = r.need(f, n, "limit", "fixed_window", "how much a window admits, such as limit: 600"); at != nil {
			l.bound.Count = r.whole(at, 1, countMax)
		}
		if w := r.need(f, n, "window", "fixed_window", "its length, such as window: 1h"); w != nil {
			l.bound.Period = r.duration(w, "a duration, such as 90s, 1h or 7d")
		}
	}
	if len(r.mistakes) > before {
		return
	}
	if err := l.bound.Validate(); err != nil {
		r.wrong(at, "a limit that cannot be kept ("+err.Error()+")", "one within the bounds")
	}
}

// need returns a field that must be there.
func (r *reader) need(f map[string]*yaml.Node, n *yaml.Node, field, what, expected string) *yaml.Node {
	if f[field] == nil {
		r.wrong(n, fmt.Sprintf("a %s without `%s`", what, field), expected)
	}
	return f[field]
}

// unwanted notes fields that another algorithm has.
func (r *reader) unwanted(f map[string]*yaml.Node, algorithm string, fields ...string) {
	for _, name := range fields {
		if v := f[name]; v != nil {
			r.wrong(v, fmt.Sprintf("`%s` with %s", name, algorithm), "it only with the other algorithm")
		}
	}
}

func periodWords(d time.Duration) string {
	switch d {
	case time.Second:
		return "second"
	case time.Minute:
		return "minute"
	case time.Hour:
		return "hour"
	case day:
		return "day"
	}
	return waitWords(d)
}
