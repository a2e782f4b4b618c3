package weir_test

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

const textBytesMax = 1 << 20 // a larger file is no text that people wrote

func TestTextNamesNoMachine(t *testing.T) {
	t.Parallel()
	for _, name := range listFiles(t, ".") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > textBytesMax || bytes.IndexByte(text, 0) >= 0 {
			continue
		}
		for _, finding := range machineFindings(name, string(text)) {
			t.Error(finding)
		}
	}
}

// machineFindings finds what is true on one machine only: folders of a user or a workplace, and the hosts
// that modules and packages come from.
func machineFindings(name, text string) []string {
	places := regexp.MustCompile(`(^|[\s"'=(:,` + "`" + `])(file://)?/(home|root|Users|work|workspace)/\w|[A-Z]:\\Users\\`)
	hosts := regexp.MustCompile(`(proxy|sum)\.golang\.org|goproxy\.\w|registry\.npmjs\.org|pypi\.org|artifac[t]ory`)
	var findings []string
	for i, line := range strings.Split(text, "\n") {
		if place := places.FindString(line); place != "" {
			findings = append(findings, fmt.Sprintf("%s:%d: %q is a path of one machine", name, i+1, place))
		}
		if host := hosts.FindString(line); host != "" {
			findings = append(findings, fmt.Sprintf("%s:%d: %q is a host of a registry", name, i+1, host))
		}
	}
	return findings
}

func TestLinksResolve(t *testing.T) {
	t.Parallel()
	exists := func(name string) bool { _, err := os.Stat(name); return err == nil }
	for _, name := range listFiles(t, ".") {
		if path.Ext(name) != ".md" {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, finding := range linkFindings(name, string(text), exists) {
			t.Error(finding)
		}
	}
}

// linkFindings finds links of a Markdown file that lead to no file of the tree.
func linkFindings(name, text string, exists func(string) bool) []string {
	link := regexp.MustCompile(`\]\(([^)\s]+)[^)]*\)|^ {0,3}\[[^\]]+\]:\s+(\S+)`)
	code := regexp.MustCompile("`[^`]*`")
	var findings []string
	fenced := false
	for i, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		}
		if fenced {
			continue
		}
		for _, match := range link.FindAllStringSubmatch(code.ReplaceAllString(line, "code"), -1) {
			target, _, _ := strings.Cut(strings.Trim(match[1]+match[2], "<>"), "#")
			if target == "" || strings.Contains(target, ":") { // a place on this page, or another site
				continue
			}
			if strings.HasPrefix(target, "/") || !exists(path.Join(path.Dir(name), target)) {
				findings = append(findings, fmt.Sprintf("%s:%d: the link to %s leads nowhere", name, i+1, target))
			}
		}
	}
	return findings
}

func TestTextRulesFindWhatTheyForbid(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"see /ho" + "me/ann/x":                  true,
		"cd \"/wo" + "rk/x\"":                   true,
		"file:///Us" + "ers/ann":                true,
		"GOPROXY=https://proxy.go" + "lang.org": true,
		"https://example.com/home/x":            false,
		"data lives in /var/lib/weir":           false,
		"the work/home balance; ./work/x":       false,
	} {
		if found := machineFindings("a.md", text); (len(found) > 0) != want {
			t.Errorf("%q: found %v, want a finding: %t", text, found, want)
		}
	}
	exists := func(name string) bool { return name == "docs/here.md" || name == "README.md" }
	for text, want := range map[string]bool{
		"[a](gone.md)":                                true,
		"a\n[a]: gone.md":                             true,
		"[a](here.md) and [b](gone.md#part)":          true,
		"[a](/here.md)":                               true,
		"![a](gone.png \"title\")":                    true,
		"[a](here.md#part) [b](../README.md)":         false,
		"[a](https://example.com/gone.md) [b](#part)": false,
		"```\n[a](gone.md)\n```\n`[a](gone.md)`":      false,
	} {
		if found := linkFindings("docs/a.md", text, exists); (len(found) > 0) != want {
			t.Errorf("%q: found %v, want a finding: %t", text, found, want)
		}
	}
}
