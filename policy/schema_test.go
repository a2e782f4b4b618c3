package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// validator checks values by the keywords of JSON schema that ours uses; it refuses to know another.
type validator struct {
	root map[string]any
}

// newValidator reads the schema.
func newValidator(t testing.TB) *validator {
	t.Helper()
	v := &validator{}
	if err := json.Unmarshal(Schema(), &v.root); err != nil {
		t.Fatal(err)
	}
	return v
}

// fault returns why the value is not as the schema says, empty when it is.
func (v *validator) fault(schema, value any, path string) string {
	if is, ok := schema.(bool); ok {
		if is {
			return ""
		}
		return path + " must not be there"
	}
	rules := schema.(map[string]any)
	for _, keyword := range slices.Sorted(maps.Keys(rules)) {
		if f := v.keyword(keyword, rules, value, path); f != "" {
			return f
		}
	}
	return ""
}

func (v *validator) keyword(keyword string, rules map[string]any, value any, path string) string {
	rule := rules[keyword]
	bad := func(is bool) string {
		if is {
			return fmt.Sprintf("%s: %v breaks %s %v", path, value, keyword, rule)
		}
		return ""
	}
	switch keyword {
	case "$schema", "$id", "$defs", "title", "description", "default", "then", "properties", "patternProperties", "propertyNames":
		if o, is := value.(map[string]any); is && strings.HasPrefix(keyword, "prop") {
			return v.each(keyword, rule, o, path)
		}
		return ""
	case "$ref":
		name, _ := strings.CutPrefix(rule.(string), "#/$defs/")
		return v.fault(v.root["$defs"].(map[string]any)[name], value, path)
	case "type":
		return bad(!typed(rule, value))
	case "const":
		return bad(!reflect.DeepEqual(rule, value))
	case "enum":
		return bad(!slices.ContainsFunc(rule.([]any), func(x any) bool { return reflect.DeepEqual(x, value) }))
	case "not":
		return bad(v.fault(rule, value, path) == "")
	case "anyOf":
		for _, s := range rule.([]any) {
			if v.fault(s, value, path) == "" {
				return ""
			}
		}
		return bad(true)
	case "allOf":
		for _, s := range rule.([]any) {
			if f := v.fault(s, value, path); f != "" {
				return f
			}
		}
		return ""
	case "if":
		if v.fault(rule, value, path) == "" {
			return v.fault(rules["then"], value, path)
		}
		return ""
	}
	switch x := value.(type) {
	case map[string]any:
		return v.object(keyword, rules, x, path)
	case []any:
		return v.array(keyword, rule, x, path)
	case string:
		return bad(textBreaks(keyword, rule, x))
	case float64:
		return bad(numberBreaks(keyword, rule, x))
	}
	return ""
}

// each checks the properties that there are, or their names.
func (v *validator) each(keyword string, rule any, value map[string]any, path string) string {
	for _, name := range slices.Sorted(maps.Keys(value)) {
		f := ""
		if keyword == "propertyNames" {
			f = v.fault(rule, name, path+"."+name)
		} else if s, is := rule.(map[string]any)[name]; is {
			f = v.fault(s, value[name], path+"."+name)
		}
		if f != "" {
			return f
		}
	}
	return ""
}

func (v *validator) object(keyword string, rules, value map[string]any, path string) string {
	rule := rules[keyword]
	count, _ := rule.(float64)
	broken := false
	switch keyword {
	case "required":
		for _, name := range rule.([]any) {
			_, is := value[name.(string)]
			broken = broken || !is
		}
	case "minProperties":
		broken = len(value) < int(count)
	case "maxProperties":
		broken = len(value) > int(count)
	case "additionalProperties":
		return v.additional(rules, value, path)
	}
	if broken {
		return fmt.Sprintf("%s breaks %s %v", path, keyword, rule)
	}
	return ""
}

// additional checks patternProperties and additionalProperties, which depend on each other.
func (v *validator) additional(rules, value map[string]any, path string) string {
	known, _ := rules["properties"].(map[string]any)
	patterns, _ := rules["patternProperties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(value)) {
		_, is := known[name]
		for p, s := range patterns {
			if regexp.MustCompile(p).MatchString(name) {
				is = true
				if f := v.fault(s, value[name], path+"."+name); f != "" {
					return f
				}
			}
		}
		if !is {
			if f := v.fault(rules["additionalProperties"], value[name], path+"."+name); f != "" {
				return f
			}
		}
	}
	return ""
}

func (v *validator) array(keyword string, rule any, value []any, path string) string {
	count, _ := rule.(float64)
	broken := false
	switch keyword {
	case "items":
		for i, x := range value {
			if f := v.fault(rule, x, fmt.Sprintf("%s[%d]", path, i)); f != "" {
				return f
			}
		}
	case "minItems":
		broken = len(value) < int(count)
	case "maxItems":
		broken = len(value) > int(count)
	case "uniqueItems":
		for i := range value {
			for j := range i {
				broken = broken || reflect.DeepEqual(value[i], value[j])
			}
		}
	}
	if broken {
		return fmt.Sprintf("%s breaks %s %v", path, keyword, rule)
	}
	return ""
}

func textBreaks(keyword string, rule any, x string) bool {
	count, _ := rule.(float64)
	switch keyword {
	case "minLength":
		return utf8.RuneCountInString(x) < int(count)
	case "maxLength":
		return utf8.RuneCountInString(x) > int(count)
	case "pattern":
		return !regexp.MustCompile(rule.(string)).MatchString(x)
	}
	return false
}

func numberBreaks(keyword string, rule any, x float64) bool {
	bound, _ := rule.(float64)
	switch keyword {
	case "minimum":
		return x < bound
	case "maximum":
		return x > bound
	case "exclusiveMinimum":
		return x <= bound
	}
	return false
}

func typed(rule, value any) bool {
	names, several := rule.([]any)
	if !several {
		names = []any{rule}
	}
	is := map[string]bool{}
	switch x := value.(type) {
	case nil:
		is["null"] = true
	case bool:
		is["boolean"] = true
	case string:
		is["string"] = true
	case float64:
		is["number"], is["integer"] = true, x == math.Trunc(x)
	case []any:
		is["array"] = true
	case map[string]any:
		is["object"] = true
	}
	return slices.ContainsFunc(names, func(n any) bool { return is[n.(string)] })
}

// valid returns what the schema finds wrong with a YAML document.
func (v *validator) valid(t testing.TB, text string) string {
	t.Helper()
	var tree, value any
	err := yaml.Unmarshal([]byte(text), &tree)
	if err == nil {
		var b []byte
		if b, err = json.Marshal(tree); err == nil {
			err = json.Unmarshal(b, &value)
		}
	}
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return v.fault(v.root, value, "")
}

func TestSchemaAdmitsEveryPolicyThatWeShip(t *testing.T) {
	t.Parallel()
	v := newValidator(t)
	documents := map[string]string{"the demo": string(Demo())}
	files, _ := filepath.Glob("testdata/*.txt")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		documents[file], _, _ = strings.Cut(string(text), "\n----\n")
	}
	if len(documents) < 20 {
		t.Fatalf("%d documents", len(documents))
	}
	for name, text := range documents {
		if _, err := Parse(name, []byte(text)); err != nil {
			t.Errorf("%s: the parser: %v", name, err)
		}
		if f := v.valid(t, text); f != "" {
			t.Errorf("%s: the schema: %s", name, f)
		}
	}
}

func TestSchemaKnowsTheFieldsAndWordsOfTheParser(t *testing.T) {
	t.Parallel()
	defs := newValidator(t).root["$defs"].(map[string]any)
	properties := func(def string) map[string]any { return defs[def].(map[string]any)["properties"].(map[string]any) }
	for def, fields := range map[string][]string{"limit": limitFields, "domain": slices.DeleteFunc(slices.Clone(domainFields), func(s string) bool { return s == "envoy" })} {
		if got := slices.Sorted(maps.Keys(properties(def))); !slices.Equal(got, slices.Sorted(slices.Values(fields))) {
			t.Errorf("%s: the schema has %v, the parser %v", def, got, fields)
		}
	}
	for _, c := range []struct {
		schema any
		words  []string
	}{
		{properties("limit")["algorithm"], algorithmWords},
		{properties("limit")["fallback"], fallbackWords[:]},
		{defs["headers"], headerWords},
	} {
		if got := fmt.Sprint(c.schema.(map[string]any)["enum"]); got != fmt.Sprint(c.words) {
			t.Errorf("the schema has %s, the parser %v", got, c.words)
		}
	}
}
