package policy

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// envoyKeys are the keys that Envoy's rate limit service knows, at whatever level: a known key where it means nothing is
// ignored, as there. Keys that begin with x_ are nobody's.
var envoyKeys = []string{
	"domain", "descriptors", "key", "value", "rate_limit", "unit", "requests_per_unit", "unlimited", "name", "replaces",
	"shadow_mode", "quota_mode", "share_threshold", "detailed_metric", "value_to_metric", "metadata",
}

// envoyField returns a value of a mapping, nil when it is not there or null.
func envoyField(n *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
		if n.Content[i].Value == name && n.Content[i+1].Tag != "!!null" {
			return n.Content[i+1]
		}
	}
	return nil
}

// envoyShape checks keys and the kinds of values everywhere, before anything is read by its meaning.
func (r *reader) envoyShape(n *yaml.Node) bool {
	if n.Kind != yaml.MappingNode {
		r.wrongAt(n.Line, n.Column, "error loading config file: found %s, expected a mapping with domain and descriptors", describe(n))
		return false
	}
	before := len(r.mistakes)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Kind != yaml.ScalarNode || k.Tag != "!!str" {
			r.wrongAt(k.Line, k.Column, "config error, key is not of type string: %s", describe(k))
		}
	}
	for _, f := range r.pairs(n, "a mapping") {
		switch k := f.key.Value; {
		case f.key.Tag != "!!str", k == "metadata", strings.HasPrefix(k, "x_"):
		case !slices.Contains(envoyKeys, k):
			r.wrongAt(f.key.Line, f.key.Column, "config error, unknown key '%s'%s", short(k), didYouMean(k, envoyKeys))
		default:
			r.envoyValue(f.value)
		}
	}
	return len(r.mistakes) == before
}

func (r *reader) envoyValue(n *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		r.envoyShape(n)
	case yaml.SequenceNode:
		for _, e := range n.Content {
			if e.Kind != yaml.MappingNode {
				r.wrongAt(e.Line, e.Column, "config error, yaml file contains list of type other than map: %s", describe(e))
				continue
			}
			r.envoyShape(e)
		}
	default:
		if !slices.Contains([]string{"!!str", "!!int", "!!bool", "!!null"}, n.Tag) {
			r.wrongAt(n.Line, n.Column, "error checking config: found %s, expected text, a whole number, true or false", describe(n))
		}
	}
}

// appendJSON writes a tree as JSON. What JSON has no type for is written as text.
func (r *reader) appendJSON(b []byte, n *yaml.Node) []byte {
	switch n.Kind {
	case yaml.MappingNode:
		b = append(b, '{')
		for i, p := range r.pairs(n, "a mapping") {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendText(b, p.key.Value), ':')
			b = r.appendJSON(b, p.value)
		}
		return append(b, '}')
	case yaml.SequenceNode:
		b = append(b, '[')
		for i, c := range n.Content {
			if i > 0 {
				b = append(b, ',')
			}
			b = r.appendJSON(b, c)
		}
		return append(b, ']')
	}
	switch n.Tag {
	case "!!null":
		return append(b, "null"...)
	case "!!bool":
		return strconv.AppendBool(b, strings.EqualFold(n.Value, "true"))
	case "!!int", "!!float":
		f, err := strconv.ParseFloat(strings.ReplaceAll(n.Value, "_", ""), 64)
		if err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return strconv.AppendFloat(b, f, 'g', -1, 64)
		}
	}
	return appendText(b, n.Value)
}

func appendText(b []byte, s string) []byte {
	text, _ := json.Marshal(s) // a string always has a JSON form
	return append(b, text...)
}
