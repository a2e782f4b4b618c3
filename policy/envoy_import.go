package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"
)

// unfoldMax bounds the nodes of a file whose aliases are written out.
const unfoldMax = 200_000

// ImportEnvoy returns a policy document in which each file, an Envoy rate limit configuration, is a domain. Nothing is
// translated: the trees stand in it whole, comments too, with aliases written out. The order of the domains is that of
// the files' names. What Envoy's rate limit service refuses is refused, as Mistakes with the place in the file.
func ImportEnvoy(files map[string][]byte) ([]byte, error) {
	if len(files) == 0 {
		return nil, fmt.Errorf("%w: no file to import", ErrInvalid)
	}
	var all Mistakes
	domains := &yaml.Node{Kind: yaml.MappingNode}
	first := map[string]string{} // the file of each domain
	for _, name := range slices.Sorted(maps.Keys(files)) {
		r := &reader{file: name}
		if root := r.envoyFile(files[name]); root != nil {
			r.importTree(root, domains, first)
		}
		all = append(all, r.mistakes.sorted()...)
	}
	if len(all) > 0 {
		return nil, all[:min(len(all), MistakesMax)]
	}
	text, err := printPolicy(domains)
	if err != nil {
		return nil, err
	}
	if _, err := Parse("import", text); err != nil {
		return nil, fmt.Errorf("the files together make no policy: %w", err)
	}
	return text, nil
}

// envoyFile returns the tree of a file with every alias written out, nil after a mistake.
func (r *reader) envoyFile(text []byte) *yaml.Node {
	if len(text) > TextMax {
		r.wrongAt(1, 1, "found a file of %d bytes, expected at most %d", len(text), TextMax)
		return nil
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	var document, next yaml.Node
	if err := d.Decode(&document); errors.Is(err, io.EOF) {
		r.wrongAt(1, 1, "config file cannot have empty domain")
		return nil
	} else if err != nil {
		r.syntax(err)
		return nil
	}
	if err := d.Decode(&next); err == nil {
		r.wrong(&next, "a second document", "one document (Envoy's rate limit service ignores all after the first)")
		return nil
	} else if !errors.Is(err, io.EOF) {
		r.syntax(err)
		return nil
	}
	left := unfoldMax
	if len(document.Content) != 1 || !r.unfold(document.Content[0], 0, &left) {
		return nil
	}
	return document.Content[0]
}

// unfold puts what an alias or a merge key stands for in its place, as long as that stays within bounds.
func (r *reader) unfold(n *yaml.Node, depth int, left *int) bool {
	if *left--; *left < 0 || depth > depthMax {
		r.wrong(n, "a file that unfolds further", fmt.Sprintf("at most %d nodes and %d levels", unfoldMax, depthMax))
		return false
	}
	if n.Kind == yaml.AliasNode {
		copied := *n.Alias
		copied.Content = slices.Clone(copied.Content)
		for i, c := range copied.Content {
			of := *c
			copied.Content[i] = &of
		}
		*n = copied
	}
	n.Anchor = ""
	for i := range n.Content {
		// The nodes below an anchor are shared by all that stand for it, so each place gets its own.
		of := *n.Content[i]
		of.Content = slices.Clone(of.Content)
		if n.Content[i] = &of; !r.unfold(&of, depth+1, left) {
			return false
		}
	}
	merge(n)
	return true
}

// merge gives a mapping the fields of its merge keys (YAML 1.1, <<) that it does not have itself.
func merge(n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		return
	}
	var own, merged []*yaml.Node
	has := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch k, v := n.Content[i], n.Content[i+1]; {
		case k.Tag != "!!merge":
			own = append(own, k, v)
			has[k.Value] = true
		case v.Kind == yaml.SequenceNode:
			for _, m := range v.Content {
				merged = append(merged, m.Content...)
			}
		default:
			merged = append(merged, v.Content...)
		}
	}
	for i := 0; i+1 < len(merged); i += 2 {
		if !has[merged[i].Value] {
			own = append(own, merged[i], merged[i+1])
			has[merged[i].Value] = true
		}
	}
	n.Content = own
}

// importTree checks a file's tree and adds it to the domains.
func (r *reader) importTree(root, domains *yaml.Node, first map[string]string) {
	if !r.envoyShape(root) {
		return
	}
	domain := envoyField(root, "domain")
	if domain == nil || domain.Value == "" {
		r.wrongAt(root.Line, root.Column, "config file cannot have empty domain")
		return
	}
	if of, dup := first[domain.Value]; dup {
		r.wrongAt(domain.Line, domain.Column, "duplicate domain '%s' in config file (it is also in %s)", short(domain.Value), of)
		return
	}
	first[domain.Value] = r.file
	key := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: domain.Value}
	tree := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Tag: "!!str", Value: "envoy"}, root}}
	r.domainName(key, tree)
	r.envoy(root, domain.Value)
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == "domain" { // it is said by the key
			key.HeadComment, key.FootComment = root.Content[i].HeadComment, root.Content[i].FootComment
			root.Content = slices.Delete(root.Content, i, i+2)
			break
		}
	}
	domains.Content = append(domains.Content, key, tree)
}

func printPolicy(domains *yaml.Node) ([]byte, error) {
	word := func(tag, text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: text} }
	root := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{
		word("!!str", "version"), word("!!int", fmt.Sprint(languageVersion)), word("!!str", "domains"), domains,
	}}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(root), e.Close()); err != nil {
		return nil, fmt.Errorf("print the policy: %w", err)
	}
	return b.Bytes(), nil
}
