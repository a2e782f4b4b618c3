package policy

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// HTTPPart is a part of an HTTP request that an attribute can be read from.
type HTTPPart uint8

// The parts.
const (
	HTTPHeader   HTTPPart = iota // the header that HTTPAttribute names
	HTTPPath                     // the path of the original request, without its query
	HTTPMethod                   // such as GET
	HTTPHost                     // the host that was asked, without a port
	HTTPClientIP                 // the address of the client as the door trusts it
)

var httpPartWords = [...]string{HTTPHeader: "header", HTTPPath: "path", HTTPMethod: "method", HTTPHost: "host", HTTPClientIP: "client_ip"}

// String returns the word of the language, such as client_ip.
func (h HTTPPart) String() string { return word(httpPartWords[:], int(h)) }

// HTTPAttribute says where an attribute is read from at the auth doors: from Part, which for HTTPHeader is the one named
// Header. Header is empty for every other part.
type HTTPAttribute struct {
	Attribute, Header string
	Part              HTTPPart
}

// HTTPAttributes returns every attribute that can steer a decision of this domain and where it is read from: first
// those that the policy maps, in its order, an attribute with alternatives once for each, then the others that its rules
// name, with foo_bar read from X-Foo-Bar. Nothing else of an HTTP request may become an attribute. The slice must not be
// changed.
func (d *Domain) HTTPAttributes() []HTTPAttribute { return d.http }

// Anonymous is the value of an account's attribute that an HTTP request does not have.
const Anonymous = "anonymous"

// FromHTTP returns the attributes of an HTTP request at an auth door: of each in HTTPAttributes the first alternative that
// read finds not empty, and Anonymous for what names the account or the payer and is missing. It returns the first error of
// read, and ErrInvalid for a domain that is an Envoy tree, whose descriptors an HTTP request does not have.
func (d *Domain) FromHTTP(read func(HTTPAttribute) (string, error)) ([]Attribute, error) {
	if d.envoy != nil {
		return nil, invalid("domain `%s` is an Envoy tree, which an auth door cannot ask", d.name)
	}
	all := make([]Attribute, 0, len(d.http))
	for _, a := range d.http {
		if _, known := attribute(all, a.Attribute); known {
			continue
		}
		value, err := read(a)
		if err != nil {
			return nil, err
		}
		if value != "" {
			all = append(all, Attribute{a.Attribute, value})
		}
	}
	for _, names := range [][]string{d.account, d.payer} {
		for _, name := range names {
			if _, known := attribute(all, name); !known {
				all = append(all, Attribute{name, Anonymous})
			}
		}
	}
	return all, nil
}

// withDefaults returns the domain's mapped attributes and the ones its rules name but the map does not.
func withDefaults(d *Domain) []HTTPAttribute {
	all := d.http
	seen := map[string]bool{}
	for _, a := range all {
		seen[a.Attribute] = true
	}
	add := func(names ...string) {
		for _, name := range names {
			if seen[name] {
				continue
			}
			seen[name] = true
			if header := "X-" + canonical(name); steers(header) {
				all = append(all, HTTPAttribute{Attribute: name, Header: header})
			}
		}
	}
	add(d.account...)
	add(d.payer...)
	for i := range d.limits {
		add(d.limits[i].key...)
		for _, c := range d.limits[i].match {
			add(c.attribute)
		}
	}
	for i := range d.prices {
		for _, c := range d.prices[i].match {
			add(c.attribute)
		}
	}
	return all
}

// canonical returns Foo-Bar for foo_bar.
func canonical(name string) string {
	words := strings.FieldsFunc(name, func(c rune) bool { return c == '_' || c == '-' })
	for i, w := range words {
		words[i] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, "-")
}

// steers reports whether an attribute may be read from a header: Host is a part of its own, and what begins with X-RL- is
// for the answers of the auth doors, which a client must not seem to have given.
func steers(header string) bool {
	lower := strings.ToLower(header)
	return headerName(header) && lower != "host" && !strings.HasPrefix(lower, "x-rl-")
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
		name, alternatives := r.attribute(e.key), []*yaml.Node{e.value}
		if e.value.Kind == yaml.SequenceNode {
			if alternatives = r.list(e.value, "a list of places", alternativesMax); len(alternatives) == 0 {
				r.wrong(e.value, "an empty list", "at least one place to read `"+short(name)+"` from")
			}
		}
		for _, n := range alternatives {
			a := r.httpPart(n)
			a.Attribute = name
			d.http = append(d.http, a)
		}
	}
}

// alternativesMax bounds the places where one attribute is looked for.
const alternativesMax = 8

// httpPart reads `header NAME` or one of the other parts.
func (r *reader) httpPart(n *yaml.Node) (a HTTPAttribute) {
	expected := "`header` and the name of an HTTP header, such as header X-User, or one of " + strings.Join(httpPartWords[1:], ", ")
	w, ok := r.text(n, expected)
	if !ok {
		return a
	}
	if header, cut := strings.CutPrefix(w, "header "); cut && steers(header) {
		a.Header = header
		return a
	}
	part, known := value(httpPartWords[:], w)
	if !known || HTTPPart(part) == HTTPHeader {
		r.wrong(n, describe(n), expected+didYouMean(w, httpPartWords[1:]))
	}
	a.Part = HTTPPart(part)
	return a
}
