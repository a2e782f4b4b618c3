package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/weir-cluster/weir/policy"
)

type policyTestCommand struct {
	Files []string `arg:"" name:"file" help:"Scenario files: a policy, requests at times, and the decisions expected."`
}

// Help is what `weir policy test -h` adds to the flags.
func (policyTestCommand) Help() string {
	return `Examples:

    weir policy test free-plan.txt
    weir policy test scenarios/*.txt -o json

docs/policy-tests.md describes the files. Exit code: 0 all as expected, 1 some are not, 2 a file cannot be read.`
}

type tested struct {
	File  string `json:"file"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"` // what is not as expected, and where
}

// Run runs each file; one that is not as expected is errDenied after all were run.
func (c *policyTestCommand) Run(_ context.Context, s *shell) error {
	all, good := make([]tested, len(c.Files)), true
	for i, file := range c.Files {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read a scenario: %w", err)
		}
		all[i] = tested{File: file, OK: true}
		err = policy.RunScenario(file, text)
		switch {
		case errors.Is(err, policy.ErrScenario):
			all[i].OK, all[i].Error, good = false, err.Error(), false
		case err != nil:
			return fmt.Errorf("%s cannot be run:\n%w", file, err)
		}
	}
	if err := show(s, all, testedText); err != nil {
		return err
	}
	if !good {
		return errDenied
	}
	return nil
}

func testedText(w io.Writer, all []tested) {
	for _, t := range all {
		if t.OK {
			fmt.Fprintf(w, "ok    %s\n", t.File)
		} else {
			fmt.Fprintf(w, "FAIL  %s\n%s\n", t.File, t.Error)
		}
	}
}

type policyDiffCommand struct {
	File    string `arg:"" help:"The YAML file."`
	Version uint64 `placeholder:"N" help:"Compare with this version instead of the one in force."`
}

// Help is what `weir policy diff -h` adds to the flags.
func (policyDiffCommand) Help() string {
	return `Examples:

    weir policy diff weir.yaml
    weir policy diff weir.yaml --version 3 -o json

Exit code: 0 nothing would change, 1 something would, 2 no answer.`
}

// changeLine is a change as JSON.
type changeLine struct {
	Change string        `json:"change"` // added, removed, changed
	Domain string        `json:"domain"`
	Limit  string        `json:"limit,omitempty"`
	Price  int           `json:"price,omitempty"` // its number in the table, from 1
	Fields []fieldChange `json:"fields,omitempty"`
	Afresh bool          `json:"afresh"` // buckets start afresh

	text string
}

type fieldChange struct {
	Field string `json:"field"`
	Old   string `json:"old"`
	New   string `json:"new"`
}

// Run compares the file with the policy in force; that something would change is errDenied.
func (c *policyDiffCommand) Run(ctx context.Context, s *shell) error {
	text, err := os.ReadFile(c.File)
	if err != nil {
		return fmt.Errorf("read the policy: %w", err)
	}
	next, err := policy.Parse(c.File, text)
	if err != nil {
		return fmt.Errorf("%s cannot be a policy:\n%w", c.File, err)
	}
	weir, err := s.client()
	if err != nil {
		return err
	}
	text, version, err := policyText(ctx, weir, c.Version)
	if err != nil {
		return err
	}
	was, err := policy.Parse(fmt.Sprintf("version %d", version), text)
	if err != nil {
		return fmt.Errorf("version %d is of another release than this program:\n%w", version, err)
	}
	changes := policy.Diff(was, next)
	lines := make([]changeLine, len(changes))
	for i, d := range changes {
		lines[i] = changeLine{d.Verb.String(), d.Domain, d.Limit, d.Price, make([]fieldChange, len(d.Fields)), d.Afresh, d.String()}
		for j, f := range d.Fields {
			lines[i].Fields[j] = fieldChange(f)
		}
	}
	if err := show(s, lines, func(w io.Writer, lines []changeLine) {
		if len(lines) == 0 {
			fmt.Fprintf(w, "nothing would change from version %d\n", version)
		}
		for _, l := range lines {
			fmt.Fprintln(w, l.text)
		}
	}); err != nil {
		return err
	}
	if len(lines) > 0 {
		return errDenied
	}
	return nil
}
