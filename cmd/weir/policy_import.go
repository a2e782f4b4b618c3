package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/weir-cluster/weir/policy"
)

type policyImportCommand struct {
	Envoy policyImportEnvoyCommand `cmd:"" help:"Make a policy of the YAML files of Envoy's rate limit service."`
}

type policyImportEnvoyCommand struct {
	Files []string `arg:"" name:"file" help:"The YAML files, each one domain."`
}

// Help is what `weir policy import envoy -h` adds to the flags.
func (policyImportEnvoyCommand) Help() string {
	return `Examples:

    weir policy import envoy edge.yaml internal.yaml > weir.yaml
    weir policy import envoy edge.yaml > weir.yaml && weir policy apply weir.yaml

What Envoy's own service refuses is refused here, with the file, line and column. Exit code: 0 fine, 2 mistakes.`
}

// Run prints the policy; its text is what weir policy apply takes.
func (c *policyImportEnvoyCommand) Run(_ context.Context, s *shell) error {
	files := make(map[string][]byte, len(c.Files))
	for _, file := range c.Files {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read an Envoy file: %w", err)
		}
		files[file] = text
	}
	text, err := policy.ImportEnvoy(files)
	if err != nil {
		return fmt.Errorf("%s cannot be imported:\n%w", strings.Join(c.Files, ", "), err)
	}
	return show(s, imported{Text: string(text)}, func(w io.Writer, i imported) { fmt.Fprint(w, i.Text) })
}

type imported struct {
	Text string `json:"text"`
}
