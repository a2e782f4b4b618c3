package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/weir-cluster/weir/node"
)

// secretBytesMax bounds a file with a webhook's secret.
const secretBytesMax = 4 << 10

// webhookEntry is a webhook as the file of --webhooks has it.
type webhookEntry struct {
	Name        string        `yaml:"name"`
	URL         string        `yaml:"url"`
	AllowHTTP   bool          `yaml:"allow-http"`
	SecretFiles []string      `yaml:"secret-files"`
	Accounts    []string      `yaml:"accounts"`
	Types       []string      `yaml:"types"`
	Batch       int           `yaml:"batch"`
	Timeout     time.Duration `yaml:"timeout"`
	LongestWait time.Duration `yaml:"longest-wait"`
	GiveUp      time.Duration `yaml:"give-up"`
}

// webhooksFile reads the webhooks of a node, and the files of their secrets, which it names from its own folder on.
func webhooksFile(file string) ([]node.Webhook, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read --webhooks: %w", err)
	}
	if len(text) > configBytesMax {
		return nil, fmt.Errorf("--webhooks %s: %d bytes, at most %d are read", file, len(text), configBytesMax)
	}
	var all struct {
		Webhooks []webhookEntry `yaml:"webhooks"`
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&all); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("--webhooks %s: %s", file, plainYAML(err))
	}
	var hooks []node.Webhook
	for _, w := range all.Webhooks {
		secrets, err := secretsOf(filepath.Dir(file), w)
		if err != nil {
			return nil, fmt.Errorf("--webhooks %s: %w", file, err)
		}
		hooks = append(hooks, node.Webhook{
			Name: w.Name, URL: w.URL, AllowHTTP: w.AllowHTTP, Secrets: secrets, Accounts: w.Accounts, Types: w.Types,
			Batch: w.Batch, Timeout: w.Timeout, Longest: w.LongestWait, GiveUp: w.GiveUp,
		})
	}
	return hooks, nil
}

// secretsOf reads the secrets of a webhook. What is wrong with one is told without its words.
func secretsOf(dir string, w webhookEntry) ([]string, error) {
	var all []string
	for _, file := range w.SecretFiles {
		if !filepath.IsAbs(file) {
			file = filepath.Join(dir, file)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("webhook %q: read its secret: %w", w.Name, err)
		}
		if len(text) > secretBytesMax {
			return nil, fmt.Errorf("webhook %q: secret %s: %d bytes, at most %d are read", w.Name, file, len(text), secretBytesMax)
		}
		all = append(all, strings.TrimSpace(string(text)))
	}
	return all, nil
}

// plainYAML says what a YAML error means without Go's words.
func plainYAML(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: unmarshal errors:\n  ")
	for _, of := range []string{"main.webhookEntry", `struct { Webhooks []main.webhookEntry "yaml:\"webhooks\"" }`} {
		text = strings.ReplaceAll(text, " not found in type "+of, " is unknown")
	}
	return strings.ReplaceAll(strings.TrimPrefix(text, "yaml: "), "\n  ", "; ")
}
