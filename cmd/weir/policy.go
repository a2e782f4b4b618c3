package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/policy"
)

type policyCommand struct {
	Check policyCheckCommand `cmd:"" help:"Look for mistakes in a policy file; asks no node."`
	Apply policyApplyCommand `cmd:"" help:"Put a policy file in force."`
	Show  policyShowCommand  `cmd:"" help:"Print the policy in force."`
}

type policyCheckCommand struct {
	File string `arg:"" help:"The YAML file."`
}

// Help is what `weir policy check -h` adds to the flags.
func (policyCheckCommand) Help() string {
	return `Examples:

    weir policy check weir.yaml
    weir policy show > now.yaml && weir policy check now.yaml

Each mistake is a line file:line:column: what is wrong. Exit code: 0 fine, 2 mistakes.`
}

// Run parses the file as a node would and prints every mistake.
func (c *policyCheckCommand) Run(s *shell) error {
	text, err := os.ReadFile(c.File)
	if err != nil {
		return fmt.Errorf("read the policy: %w", err)
	}
	if _, err := policy.Parse(c.File, text); err != nil {
		return fmt.Errorf("%s cannot be a policy:\n%w", c.File, err)
	}
	return show(s, checkedFile{File: c.File, OK: true}, func(w io.Writer, f checkedFile) {
		fmt.Fprintf(w, "%s is a policy\n", f.File)
	})
}

type checkedFile struct {
	File string `json:"file"`
	OK   bool   `json:"ok"`
}

type policyApplyCommand struct {
	File    string `arg:"" help:"The YAML file."`
	IfMatch string `placeholder:"VERSION" help:"Replace only this version, so that nobody's change is lost."`
}

// Help is what `weir policy apply -h` adds to the flags.
func (policyApplyCommand) Help() string {
	return `Examples:

    weir policy apply weir.yaml
    weir policy apply weir.yaml --if-match 3`
}

// Run sends the file; what the cluster finds wrong with it is printed line by line.
func (c *policyApplyCommand) Run(ctx context.Context, s *shell) error {
	text, err := os.ReadFile(c.File)
	if err != nil {
		return fmt.Errorf("read the policy: %w", err)
	}
	weir, err := s.client()
	if err != nil {
		return err
	}
	version, err := weir.ApplyPolicy(ctx, text, c.IfMatch)
	if p := new(client.Problem); errors.As(err, &p) && len(p.Errors) > 0 {
		return fmt.Errorf("%s cannot be a policy:\n%s", c.File, findingsText(c.File, p.Errors))
	}
	if err != nil {
		return fmt.Errorf("apply %s: %w", c.File, err)
	}
	return show(s, policyVersion{Version: version}, func(w io.Writer, v policyVersion) {
		fmt.Fprintf(w, "%s is in force as version %d\n", c.File, v.Version)
	})
}

type policyVersion struct {
	Version uint64 `json:"version"`
	Text    string `json:"text,omitempty"`
}

func findingsText(file string, all []client.Finding) string {
	lines := make([]string, len(all))
	for i, f := range all {
		lines[i] = fmt.Sprintf("%s:%d:%d: %s", file, f.Line, f.Column, f.Message)
	}
	return strings.Join(lines, "\n")
}

type policyShowCommand struct{}

// Help is what `weir policy show -h` adds to the flags.
func (policyShowCommand) Help() string {
	return `Examples:

    weir policy show
    weir policy show > now.yaml    # the version goes to the terminal, the text to the file`
}

// Run prints the policy as it was written.
func (policyShowCommand) Run(ctx context.Context, s *shell) error {
	weir, err := s.client()
	if err != nil {
		return err
	}
	text, version, err := weir.PolicyText(ctx)
	if err != nil {
		return fmt.Errorf("no policy: %w", err)
	}
	if s.Output == "json" {
		return show(s, policyVersion{Version: version, Text: string(text)}, nil)
	}
	fmt.Fprintf(s.stderr, "version %d\n", version)
	if _, err := s.stdout.Write(text); err != nil {
		return fmt.Errorf("print the policy: %w", err)
	}
	return nil
}
