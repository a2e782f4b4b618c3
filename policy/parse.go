package policy

import (
	"fmt"
	"slices"
	"strings"

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
	domainFields = []string{"account", "payer", "unmatched", "headers", "http", "meters", "limits", "prices", "order", "envoy"}
	limitFields  = []string{
		"name", "match", "key", "algorithm", "meter", "rate", "limit", "window", "burst", "time_zone", "ttl",
		"spill", "on_deny", "shadow", "fallback", "cold_start", "takeover",
	}
	headerWords = []string{"ietf", "envoy", "openai", "none"}
)

// Parse compiles a policy document; name is what its mistakes call the file. It reads nothing but text, so every node
// comes to the same result. The error, if any, is Mistakes. Text is copied.
func Parse(name string, text []byte) (*Policy, error) {
	r := &reader{file: name}
	p := &Policy{text: string(text)}
	if root := r.load(p.text); root != nil {
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
		d := &Domain{name: r.domainName(e.key, e.value), headers: "ietf", meters: slices.Clone(knownMeters[:])}
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
	if v := f["headers"]; v != nil {
		d.headers = r.choice(v, headerWords...)
	}
	if f["envoy"] != nil {
		r.envoyDomain(f, d)
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
	d.limitIndex = newIndex(len(d.limits), func(i int) []condition { return d.limits[i].match })
	d.priceIndex = newIndex(len(d.prices), func(i int) []condition { return d.prices[i].match })
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
