// Package weir_test holds the house to its plan: which folder may import which, and the rules of
// CONTRIBUTING.md that a machine can judge. It reads source text only, so it needs no build and no network.
package weir_test

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/weir-cluster/weir"

// arrows is the import map: a folder, and which other folders of ours its shipped code may import. A folder
// below one of these follows the same line, unless it has its own. The map is explained in
// docs/architecture.md; a new folder or arrow is a design change and says why in docs/decisions.
var arrows = map[string][]string{
	"api":            {},
	"ring":           {},
	"limiter":        {},
	"ledger":         {},
	"ledger/group":   {},
	"ledger/wallet":  {"ledger", "ledger/journal"},
	"console":        {},
	"policy":         {"ledger", "limiter", "ring"},
	"cluster":        {"limiter", "policy", "ring"},
	"client":         {"api", "ring"},
	"client/bench":   {"api", "client", "client/rest", "ring"},
	"client/rest":    {"client", "ring"},
	"transport":      {"api", "cluster", "ledger", "limiter", "policy", "ring"},
	"node":           {"api", "client", "cluster", "console", "ledger", "ledger/group", "ledger/journal", "ledger/wallet", "limiter", "policy", "ring", "transport"},
	"chaos":          {"api", "client"},
	"chaos/sim":      {"api", "chaos", "chaos/simnet", "client", "client/rest", "ledger/group", "node", "ring"},
	"chaos/simnet":   {},
	"cmd/weir":       {"client", "client/bench", "client/rest", "node", "policy"},
	"cmd/weir-chaos": {"chaos", "client", "node", "policy"},
	"tools":          {}, // a module of its own
}

// plainFolders hold no Go code.
var plainFolders = []string{"deploy", "docs", "examples"}

// forced lists where a signature that is not ours forces an empty interface or a Get on us, as file:name,
// with the reason. An entry that nothing needs any more is a finding too.
var forced = map[string]string{
	"chaos/opinion.go:model":               "porcupine.NondeterministicModel",
	"chaos/sim/disk_image.go:GetLog":       "raft.LogStore",
	"chaos/sim/disk_image.go:Get":          "raft.StableStore",
	"chaos/sim/disk_image.go:GetUint64":    "raft.StableStore",
	"client/bench/wire.go:Marshal":         "encoding.CodecV2",
	"client/bench/wire.go:Unmarshal":       "encoding.CodecV2",
	"transport/access.go:streams":          "grpc.StreamHandler",
	"transport/access.go:byHand":           "grpc.MethodHandler",
	"transport/wire_codec.go:Marshal":      "encoding.CodecV2",
	"transport/wire_codec.go:Unmarshal":    "encoding.CodecV2",
	"transport/wire_codec.go:Get":          "mem.BufferPool",
	"client/interceptor.go:Stream":         "grpc.StreamServerInterceptor",
	"client/interceptor.go:Unary":          "grpc.UnaryServerInterceptor",
	"cluster/gossip.go:GetBroadcasts":      "memberlist.Delegate",
	"cmd/weir/config.go:configFile":        "kong.ResolverFunc",
	"ledger/group/log.go:Accept":           "hclog.SinkAdapter",
	"ledger/group/replica.go:Apply":        "raft.FSM",
	"policy/fallback.go:NewFallback":       "sync.Pool",
	"policy/waterfall.go:NewWaterfall":     "sync.Pool",
	"transport/samecluster.go:SameCluster": "grpc.UnaryServerInterceptor, grpc.StreamServerInterceptor",
	"transport/samecluster.go:ofCluster":   "grpc.UnaryClientInterceptor",
}

func TestHouseRules(t *testing.T) {
	t.Parallel()
	packs := loadTree(t, ".")
	if len(packs) < 10 {
		t.Fatalf("only %d folders with Go files were found: is this test looking at the right tree?", len(packs))
	}
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			for _, p := range packs {
				for _, finding := range r.check(p) {
					t.Error(finding)
				}
			}
		})
	}
}

func TestExceptionsAreNeeded(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, p := range loadTree(t, ".") {
		for _, key := range exceptionsUsed(p) {
			used[key] = true
		}
	}
	for key, reason := range forced {
		if !used[key] {
			t.Errorf("forced[%q] allows what is no longer there: delete it", key)
		}
		if reason == "" {
			t.Errorf("forced[%q] gives no reason", key)
		}
	}
}

func TestEveryFolderHasItsPlace(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.IsDir() && entry.Name()[0] != '.' && !ignored(entry.Name()) {
			if finding := placeOf(entry.Name()); finding != "" {
				t.Error(finding)
			}
		}
	}
}

// placeOf returns what is wrong with a folder at the top of the tree, or nothing.
func placeOf(folder string) string {
	known := slices.Contains(plainFolders, folder)
	for key := range arrows {
		known = known || key == folder || strings.HasPrefix(key, folder+"/")
	}
	if known {
		return ""
	}
	return fmt.Sprintf("%s/ is not in the plan of the house: put its code where it belongs, or add it to arrows in "+
		"architecture_test.go and docs/architecture.md, and say why in docs/decisions", folder)
}

// ruleKey returns the line of the import map that holds for a folder: the longest that leads to it.
func ruleKey(folder string) (string, bool) {
	for ; folder != "."; folder = path.Dir(folder) {
		if _, ok := arrows[folder]; ok {
			return folder, true
		}
	}
	return "", false
}

// importFindings judges the shipped files of one folder by the import map.
func importFindings(p *pack) []string {
	var findings []string
	for _, f := range p.shipped() {
		key, ok := ruleKey(p.dir)
		if !ok {
			return []string{fmt.Sprintf("%s: the folder has no line in the import map: add it to arrows in "+
				"architecture_test.go and docs/architecture.md, and say why in docs/decisions", f.path)}
		}
		for _, spec := range f.syntax.Imports {
			target, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, "`\""), module)
			if !ours || target != "" && target[0] != '/' {
				continue
			}
			to, ok := ruleKey(strings.TrimPrefix(target, "/"))
			if !ok || to != key && !slices.Contains(arrows[key], to) {
				findings = append(findings, p.at(spec.Pos(), "%s may not import %s: imports point one way, "+
					"see docs/architecture.md", key, strings.TrimPrefix(target, "/")))
			}
		}
	}
	return findings
}
