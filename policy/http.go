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
// those that the policy maps, in its order, then the others that its rules name, with foo_bar read from X-Foo-Bar.
// Nothing else of an HTTP request may become an attribute. The slice must not be changed.
func (d *Domain) HTTPAttributes() []HTTPAttribute { return d.http }

// withDefaults returns the domain's mapped attributes and the ones its rules name but the map does not.
func withDefaults(d *Domain) []HTTPAttribute {
	all := d.http
	seen := map[string]bool{}
	for _, a := range all {
		seen[a.Attribute] = true
	}
	add := func(names ...string) {
		for _, name := range names {
			header := "X-" + canonical(name)
			if !seen[name] && headerName(header) {
				all = append(all, HTTPAttribute{Attribute: name, Header: header})
			}
			seen[name] = true
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
		a := r.httpPart(e.value)
		a.Attribute = r.attribute(e.key)
		d.http = append(d.http, a)
	}
}

// httpPart reads `header NAME` or one of the other parts.
func (r *reader) httpPart(n *yaml.Node) (a HTTPAttribute) {
	expected := "`header` and the name of an HTTP header, such as header X-User, or one of " + strings.Join(httpPartWords[1:], ", ")
	w, ok := r.text(n, expected)
	if !ok {
		return a
	}
	if header, cut := strings.CutPrefix(w, "header "); cut && headerName(header) {
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
