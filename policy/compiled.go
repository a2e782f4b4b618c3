package policy

import (
	"encoding/binary"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/limiter"
	"github.com/weir-cluster/weir/ring"
)

// Policy is a compiled document. It is immutable and may be shared; its methods may be called from anywhere.
type Policy struct {
	version uint64
	text    string
	domains map[string]*Domain
	names   []string // of the domains, sorted

	revision uint64   // of the agreed state that specials are from
	specials specials // nil for a document alone
}

// Version returns the number under which the cluster agreed on this policy; 0 when it did not.
func (p *Policy) Version() uint64 { return p.version }

// WithVersion returns the same policy under another number.
func (p *Policy) WithVersion(version uint64) *Policy {
	q := *p
	q.version = version
	return &q
}

// Text returns a copy of the document that was compiled.
func (p *Policy) Text() []byte { return []byte(p.text) }

// Domains returns the names of the domains, sorted. The slice must not be changed.
func (p *Policy) Domains() []string { return p.names }

// Domain returns a domain by name, or ErrInvalid with the nearest name there is.
func (p *Policy) Domain(name string) (*Domain, error) {
	if d := p.domains[name]; d != nil {
		return d, nil
	}
	if name == "" {
		return nil, invalid("it names no domain")
	}
	return nil, invalid("there is no domain `%s`%s", short(name), didYouMean(name, p.names))
}

// Domain is one namespace of a policy. It is immutable.
type Domain struct {
	name           string
	account, payer []string
	denyUnmatched  bool
	headers        string
	http           []HTTPAttribute
	meters         []string
	limits         []limit
	limitIndex     index
	prices         []price
	priceIndex     index
	order          []ledger.Kind
	envoy          *EnvoyTree // the rules, if the domain is written as Envoy's
}

// Name returns the domain's name.
func (d *Domain) Name() string { return d.name }

// Headers returns which rate-limit headers HTTP answers carry: ietf, envoy, openai or none.
func (d *Domain) Headers() string { return d.headers }

// fallbackKind says what a limit does when no home can be reached.
type fallbackKind uint8

const (
	fallbackShare  fallbackKind = iota // this node admits its share
	fallbackOpen                       // everything is admitted
	fallbackClosed                     // nothing is
)

var fallbackWords = [...]string{fallbackShare: "share", fallbackOpen: "open", fallbackClosed: "closed"}

// limit is a compiled limit.
type limit struct {
	name     string
	match    []condition
	key      []string // attribute names, in the policy's order
	prefix   []byte   // what the texts of its keys begin with
	bound    limiter.Limit
	meter    uint8 // index into the domain's meters
	spill    bool
	charge   bool // a request that is refused counts too
	keep     bool // it does not, at no door
	shadow   bool // it says what it would do, and steers nothing
	fallback fallbackKind
}

// frame appends what identifies the limit among all. A limit that changes its algorithm, meter or key attributes begins
// afresh; with a new rate, burst or window its buckets keep what they owe.
func (l *limit) frame(b []byte, domain string) []byte {
	b = framed(framed(b, domain), l.name)
	b = append(b, byte(l.bound.Algorithm), l.meter, byte(len(l.key)))
	for _, k := range l.key {
		b = framed(b, k)
	}
	return b
}

// framed appends s so that no two lists of strings have the same bytes.
func framed(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Account is whom a request is decided for.
type Account struct {
	Domain    string
	ID        string
	Payer     string // the ledger account that pays for what spills
	Partition uint16 // whose home decides
}

// Account returns the account of a request, or ErrInvalid when the domain is unknown or an attribute is missing.
// It checks no more than it needs: the home validates the whole request.
func (p *Policy) Account(r Request) (Account, error) {
	d, err := p.Domain(r.Domain)
	if err != nil {
		return Account{}, err
	}
	if err := fewAttributes(r.Attributes); err != nil {
		return Account{}, err
	}
	return d.accountOf(r.Attributes)
}

// Locate is Account for who has the same request decided next: the request remembers its account, so that it is not found
// again by the same policy. From then on neither its domain nor its attributes may change.
func (p *Policy) Locate(r *Request) (Account, error) {
	d, err := p.domainOf(r)
	if err != nil {
		return Account{}, err
	}
	if r.located.domain == d {
		return r.located.account, nil
	}
	if err := fewAttributes(r.Attributes); err != nil {
		return Account{}, err
	}
	a, err := d.accountOf(r.Attributes)
	if err == nil {
		r.located = located{p, d, a}
	}
	return a, err
}

// located is what a request remembers. A domain is of one compiled policy, so that another policy finds nothing here.
type located struct {
	policy  *Policy
	domain  *Domain
	account Account
}

// domainOf returns the domain of a request.
func (p *Policy) domainOf(r *Request) (*Domain, error) {
	if r.located.policy == p {
		return r.located.domain, nil
	}
	return p.Domain(r.Domain)
}

func (d *Domain) accountOf(attributes []Attribute) (Account, error) {
	if d.envoy != nil {
		return d.envoy.account(attributes)
	}
	id, err := d.identity(attributes, d.account, "account")
	if err != nil {
		return Account{}, err
	}
	a := Account{Domain: d.name, ID: id, Payer: id, Partition: ring.Partition(d.name, id)}
	if len(d.payer) > 0 {
		a.Payer, err = d.identity(attributes, d.payer, "payer")
	}
	return a, err
}

func (d *Domain) identity(attributes []Attribute, names []string, what string) (string, error) {
	var room [4]string
	values := room[:0]
	for _, name := range names {
		v, ok := attribute(attributes, name)
		if !ok || v == "" {
			return "", invalid("the attribute `%s` is missing, which names the %s in domain `%s`", short(name), what, d.name)
		}
		values = append(values, v)
	}
	id, err := ring.AccountID(values)
	if err != nil {
		return "", invalid("its %s: %v", what, err)
	}
	return id, nil
}
