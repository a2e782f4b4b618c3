package policy

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	envoyRulesMax = 10_000 // descriptors in a tree
	envoyNameMax  = 256    // bytes of a domain's or a rule's name
)

// domainName reads the name of a domain. That of an Envoy tree is what the proxies send, so it may be any text.
func (r *reader) domainName(key, value *yaml.Node) string {
	if envoyField(value, "envoy") == nil {
		return r.name(key, "domain")
	}
	if key.Value == "" {
		r.wrongAt(key.Line, key.Column, "config file cannot have empty domain")
	} else if len(key.Value) > envoyNameMax {
		r.wrong(key, describe(key), fmt.Sprintf("the name of a domain, at most %d bytes", envoyNameMax))
	}
	return key.Value
}

// envoyDomain reads a domain that is an Envoy tree. Nothing of the language of ours but the style of headers has a
// meaning beside one; without it answers carry no rate-limit headers, as the proxy adds those it is told to.
func (r *reader) envoyDomain(f map[string]*yaml.Node, d *Domain) {
	for _, name := range domainFields {
		if v := f[name]; v != nil && name != "envoy" && name != "headers" {
			r.wrong(v, "`"+name+"` beside `envoy`", "no more than `headers`")
		}
	}
	if f["headers"] == nil {
		d.headers = "none"
	}
	d.envoy = r.envoy(f["envoy"], d.name)
}

// envoy reads an Envoy rate limit configuration as the domain's rules. Its mistakes are those that Envoy's rate limit
// service finds, in its words.
func (r *reader) envoy(n *yaml.Node, domain string) *EnvoyTree {
	t := &EnvoyTree{domain: domain}
	if !r.envoyShape(n) {
		return t
	}
	if v := envoyField(n, "domain"); v != nil && v.Value != domain {
		if v.Value == "" {
			r.wrongAt(v.Line, v.Column, "config file cannot have empty domain")
		} else {
			r.wrong(v, describe(v), "the domain's own name `"+short(domain)+"`, or no `domain` here")
		}
	}
	e := envoyReader{reader: r, tree: t}
	e.level(n, &t.root, domain+".")
	return t
}

// envoyReader reads a tree whose shape is right.
type envoyReader struct {
	*reader
	tree *EnvoyTree
}

// level reads the `descriptors` of n. path is the composite key of all above, for messages.
func (e *envoyReader) level(n *yaml.Node, into *envoyLevel, path string) {
	list := envoyField(n, "descriptors")
	if list == nil {
		return
	}
	if list.Kind != yaml.SequenceNode {
		e.wrongAt(list.Line, list.Column, "error loading config file: found %s, expected a list of descriptors", describe(list))
		return
	}
	composites := make(map[string]bool, len(list.Content))
	for _, c := range list.Content {
		if e.tree.rules++; e.tree.rules > envoyRulesMax {
			e.wrong(c, "one more descriptor", fmt.Sprintf("at most %d", envoyRulesMax))
			return
		}
		key, value := e.text(c, "key"), e.text(c, "value")
		composite := key
		if value != "" {
			composite += "_" + value
		}
		switch {
		case key == "":
			e.wrongAt(c.Line, c.Column, "descriptor has empty key")
			continue
		case composites[composite]:
			e.wrongAt(c.Line, c.Column, "duplicate descriptor composite key '%s'", path+composite)
			continue
		}
		composites[composite] = true
		into.add(key, value, e.node(c, key, value, path+composite))
	}
}

func (l *envoyLevel) add(key, value string, n *envoyNode) {
	if value == "" {
		if l.anyValue == nil {
			l.anyValue = map[string]*envoyNode{}
		}
		l.anyValue[key] = n
		return
	}
	if l.exact == nil {
		l.exact = map[Attribute]*envoyNode{}
	}
	l.exact[Attribute{key, value}] = n
	if prefix, ok := strings.CutSuffix(value, "*"); ok {
		l.prefixed = append(l.prefixed, envoyPrefix{key, prefix, n})
	}
}

// node reads one descriptor.
func (e *envoyReader) node(n *yaml.Node, key, value, path string) *envoyNode {
	node := &envoyNode{}
	rule := &EnvoyRule{Shadow: e.truth(n, "shadow_mode"), Quota: e.truth(n, "quota_mode")}
	e.truth(n, "detailed_metric")
	e.truth(n, "value_to_metric")
	if e.truth(n, "share_threshold") {
		if node.shared = value; !strings.HasSuffix(value, "*") {
			v := envoyField(n, "share_threshold")
			e.wrongAt(v.Line, v.Column, "share_threshold can only be used with wildcard values (ending with '*'), found key '%s' and value '%s'", short(key), short(value))
		}
	}
	if m := envoyField(n, "metadata"); m != nil {
		if m.Kind == yaml.MappingNode {
			rule.Metadata = e.appendJSON(nil, m)
		} else {
			e.wrong(m, describe(m), "a mapping")
		}
	}
	if l := envoyField(n, "rate_limit"); l != nil {
		e.rateLimit(l, rule, path)
		node.rule = rule
	}
	e.level(n, &node.next, path+".")
	return node
}

func (e *envoyReader) rateLimit(n *yaml.Node, rule *EnvoyRule, path string) {
	if n.Kind != yaml.MappingNode {
		e.wrongAt(n.Line, n.Column, "error loading config file: found %s, expected a rate_limit with unit and requests_per_unit", describe(n))
		return
	}
	rule.Name, rule.Unlimited = e.text(n, "name"), e.truth(n, "unlimited")
	if len(rule.Name) > envoyNameMax {
		e.wrong(envoyField(n, "name"), describe(envoyField(n, "name")), fmt.Sprintf("a name of at most %d bytes", envoyNameMax))
	}
	at, word := n, e.text(n, "unit")
	if v := envoyField(n, "unit"); v != nil {
		at = v
	}
	unit := max(slices.Index(envoyUnitWords[:], strings.ToLower(word)), 0)
	switch {
	case rule.Unlimited && unit > 0:
		e.wrongAt(at.Line, at.Column, "should not specify rate limit unit when unlimited")
	case !rule.Unlimited && (unit == 0 || word == ""):
		e.wrongAt(at.Line, at.Column, "invalid rate limit unit '%s'%s", short(word), didYouMean(strings.ToLower(word), envoyUnitWords[1:]))
		return
	}
	rule.Count = e.count(n)
	e.replaces(n, rule)
	rule.limit.name, rule.limit.shadow = rule.Name, rule.Shadow
	if rule.Name == "" {
		_, rule.limit.name, _ = strings.Cut(path, e.tree.domain+".")
	}
	if !rule.Unlimited {
		rule.Unit = EnvoyUnit(unit)
		rule.limit.bound = envoyBound(rule.Count, rule.Unit.Window())
	}
}

func (e *envoyReader) replaces(n *yaml.Node, rule *EnvoyRule) {
	list := envoyField(n, "replaces")
	if list == nil {
		return
	}
	if list.Kind != yaml.SequenceNode {
		e.wrongAt(list.Line, list.Column, "error loading config file: found %s, expected a list of rules to replace, each with a name", describe(list))
		return
	}
	for _, c := range list.Content {
		switch name := e.text(c, "name"); name {
		case "":
			e.wrongAt(c.Line, c.Column, "should not have an empty replaces entry")
		case rule.Name:
			e.wrongAt(c.Line, c.Column, "replaces should not contain name of same descriptor")
		default:
			rule.Replaces = append(rule.Replaces, name)
		}
	}
}

// text returns a scalar as it stands, empty when it is not there or null.
func (e *envoyReader) text(n *yaml.Node, field string) string {
	v := envoyField(n, field)
	if v == nil {
		return ""
	}
	if v.Kind != yaml.ScalarNode {
		e.wrongAt(v.Line, v.Column, "error loading config file: found %s, expected text for %s", describe(v), field)
	}
	return v.Value
}

// truth reads what YAML 1.1 takes for true and false.
func (e *envoyReader) truth(n *yaml.Node, field string) bool {
	v := envoyField(n, field)
	if v == nil {
		return false
	}
	if v.Kind == yaml.ScalarNode && v.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0 {
		switch strings.ToLower(v.Value) {
		case "true", "yes", "on", "y":
			return true
		case "false", "no", "off", "n":
			return false
		}
	}
	e.wrongAt(v.Line, v.Column, "error loading config file: found %s, expected true or false for %s", describe(v), field)
	return false
}

func (e *envoyReader) count(n *yaml.Node) uint32 {
	v := envoyField(n, "requests_per_unit")
	if v == nil {
		return 0
	}
	if v.Kind == yaml.ScalarNode && v.Tag == "!!int" {
		if c, err := strconv.ParseUint(v.Value, 0, 32); err == nil {
			return uint32(c)
		}
	}
	e.wrongAt(v.Line, v.Column, "error loading config file: found %s, expected a whole number from 0 to %d for requests_per_unit", describe(v), uint32(math.MaxUint32))
	return 0
}
