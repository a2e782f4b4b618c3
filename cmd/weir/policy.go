package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/weir-cluster/weir/client/rest"
	"github.com/weir-cluster/weir/policy"
)

type policyCommand struct {
	Check    policyCheckCommand    `cmd:"" help:"Look for mistakes in a policy file; asks no node."`
	Test     policyTestCommand     `cmd:"" help:"Run a file of requests and the decisions they should get; asks no node."`
	Diff     policyDiffCommand     `cmd:"" help:"Show what applying a policy file would change."`
	Apply    policyApplyCommand    `cmd:"" help:"Put a policy file in force."`
	Show     policyShowCommand     `cmd:"" help:"Print the policy in force, or an earlier one."`
	History  policyHistoryCommand  `cmd:"" help:"List the versions that are kept."`
	Rollback policyRollbackCommand `cmd:"" help:"Put an earlier version in force again."`
	Import   policyImportCommand   `cmd:"" help:"Make a policy of another service's files; asks no node."`
}

type policyCheckCommand struct {
	File string `arg:"" help:"The YAML file."`
}

// Help is what `weir policy check -h` adds to the flags.
func (policyCheckCommand) Help() string {
	return `Examples:

    weir policy check weir.yaml
    weir policy show > now.yaml && weir policy check now.yaml

Each mistake is a line file:line:column: what is wrong; with -o json they are a list on standard output as well.
Exit code: 0 fine, 2 mistakes.`
}

// Run parses the file as a node would and prints every mistake.
func (c *policyCheckCommand) Run(s *shell) error {
	text, err := os.ReadFile(c.File)
	if err != nil {
		return fmt.Errorf("read the policy: %w", err)
	}
	if _, err := policy.Parse(c.File, text); err != nil {
		if s.Output == "json" {
			if err := show(s, checkedFile{File: c.File, Mistakes: findings(err)}, nil); err != nil {
				return err
			}
		}
		return fmt.Errorf("%s cannot be a policy:\n%w", c.File, err)
	}
	return show(s, checkedFile{File: c.File, OK: true}, func(w io.Writer, f checkedFile) {
		fmt.Fprintf(w, "%s is a policy\n", f.File)
	})
}

type checkedFile struct {
	File     string         `json:"file"`
	OK       bool           `json:"ok"`
	Mistakes []rest.Finding `json:"mistakes,omitempty"`
}

// findings are the mistakes of a policy as a node would send them.
func findings(err error) (all []rest.Finding) {
	var found policy.Mistakes
	errors.As(err, &found)
	for _, m := range found {
		all = append(all, rest.Finding(m))
	}
	return all
}

type policyApplyCommand struct {
	waitFlag `embed:""`
	File     string `arg:"" help:"The YAML file."`
	IfMatch  string `placeholder:"VERSION" help:"Replace only this version, so that nobody's change is lost."`
	Note     string `placeholder:"TEXT" help:"A note for the history."`
}

// Help is what `weir policy apply -h` adds to the flags.
func (policyApplyCommand) Help() string {
	return `Examples:

    weir policy apply weir.yaml
    weir policy apply weir.yaml --if-match 3 --note "double the free plan"
    weir policy apply weir.yaml --wait 10s

Buckets of limits that did not change, or only in their numbers, keep what they owe; weir policy diff tells.`
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
	version, err := weir.ApplyPolicy(ctx, text, c.IfMatch, c.Note)
	if p := new(rest.Problem); errors.As(err, &p) && len(p.Errors) > 0 {
		return fmt.Errorf("%s cannot be a policy:\n%s", c.File, findingsText(c.File, p.Errors))
	}
	if err != nil {
		return fmt.Errorf("apply %s: %w", c.File, err)
	}
	return show(s, policyVersion{Version: version, Behind: c.inForce(ctx, s, weir, version)}, func(w io.Writer, v policyVersion) {
		fmt.Fprintf(w, "%s is in force as version %d\n", c.File, v.Version)
	})
}

type policyVersion struct {
	Version uint64   `json:"version"`
	Text    string   `json:"text,omitempty"`
	Behind  []string `json:"behind,omitempty"` // nodes that did not go by it when it was no longer waited for
}

func findingsText(file string, all []rest.Finding) string {
	lines := make([]string, len(all))
	for i, f := range all {
		lines[i] = fmt.Sprintf("%s:%d:%d: %s", file, f.Line, f.Column, f.Message)
	}
	return strings.Join(lines, "\n")
}

type policyShowCommand struct {
	Version uint64 `placeholder:"N" help:"An earlier version; weir policy history lists them."`
}

// Help is what `weir policy show -h` adds to the flags.
func (policyShowCommand) Help() string {
	return `Examples:

    weir policy show
    weir policy show --version 3
    weir policy show > now.yaml    # the version goes to the terminal, the text to the file`
}

// Run prints the policy as it was written.
func (c policyShowCommand) Run(ctx context.Context, s *shell) error {
	weir, err := s.client()
	if err != nil {
		return err
	}
	text, version, err := policyText(ctx, weir, c.Version)
	if err != nil {
		return err
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

// policyText returns a version's text; version 0 is the one in force.
func policyText(ctx context.Context, weir *rest.Client, version uint64) ([]byte, uint64, error) {
	if version == 0 {
		text, version, err := weir.PolicyText(ctx)
		if err != nil {
			return nil, 0, fmt.Errorf("no policy: %w", err)
		}
		return text, version, nil
	}
	text, err := weir.PolicyTextAt(ctx, version)
	if err != nil {
		return nil, 0, fmt.Errorf("no policy: %w", err)
	}
	return text, version, nil
}
