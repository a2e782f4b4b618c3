package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	kongyaml "github.com/alecthomas/kong-yaml"
)

const configBytesMax = 1 << 20

// configFile reads flags from a YAML file, one `name: value` a line; known holds their names. Anything
// else at the start of a line is an error that names it: a mistyped flag must not be a flag left out.
func configFile(file string, known map[string]bool) (kong.Resolver, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read --config: %w", err)
	}
	if len(text) > configBytesMax {
		return nil, fmt.Errorf("--config %s: %d bytes, at most %d are read", file, len(text), configBytesMax)
	}
	if err := configNames(file, string(text), known); err != nil {
		return nil, err
	}
	flat, err := kongyaml.Loader(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("--config %s: %w", file, err)
	}
	return kong.ResolverFunc(func(k *kong.Context, _ *kong.Path, f *kong.Flag) (any, error) {
		if !known[f.Name] || slices.ContainsFunc(f.Envs, isSet) {
			return nil, nil
		}
		// The loader would look for serve-name; seen from the application the key is just name.
		return flat.Resolve(k, &kong.Path{App: k.Model}, f)
	}), nil
}

// configNames checks the start of each line that is not a continuation. That is enough to find every key,
// because the file is a flat block mapping: whatever is not one has a line that fails here.
func configNames(file, text string, known map[string]bool) error {
	first := true
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, " \t\r")
		if line == "" || strings.ContainsRune(" \t#", rune(line[0])) || strings.HasPrefix(line, "- ") || (line == "---" && first) {
			continue
		}
		first = false
		name, _, colon := strings.Cut(line, ":")
		name = strings.TrimRight(name, " ")
		if !colon || !known[name] {
			return fmt.Errorf("--config %s:%d: unknown name %q, expected one of: %s",
				file, i+1, name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
	return nil
}

func isSet(variable string) bool {
	_, set := os.LookupEnv(variable)
	return set
}
