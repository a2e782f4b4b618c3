package policy

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/limiter"
)

// rig is one home: a real store and a real ledger machine driven without Raft, under a clock that the test sets.
type rig struct {
	now    time.Time
	policy *Policy
	limits *limiter.Store
	ledger *ledger.Ledger
	log    *raftless
	w      *Waterfall
	f      *Fallback
}

// raftless applies each proposal at once; broken makes it fail after, and away before, the command is applied.
type raftless struct {
	mu           sync.Mutex
	machine      *ledger.Machine
	index        uint64
	now          func() time.Time
	broken, away error
}

func (l *raftless) Propose(_ context.Context, command []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.away != nil {
		return nil, l.away
	}
	l.index++
	reply, err := l.machine.Apply(ledger.Stamp{Term: 1, Index: l.index, Wall: l.now()}, command)
	if err != nil {
		return nil, err
	}
	return reply, l.broken
}

func newRig(t testing.TB, document string) *rig {
	t.Helper()
	p, err := Parse("test.yaml", []byte(document))
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), policy: p.WithVersion(7)}
	clock := func() time.Time { return g.now }
	g.limits = limiter.NewStore(limiter.DefaultConfig())
	g.log = &raftless{machine: ledger.NewMachine(ledger.DefaultConfig()), now: clock}
	g.ledger = ledger.New(g.log)
	current := func() *Policy { return g.policy }
	hasher := func() limiter.Hasher { return limiter.NewHasher([16]byte{1}) }
	g.w = NewWaterfall(WaterfallConfig{Policy: current, Limits: g.limits, Hasher: hasher, Purse: g.ledger, Now: clock})
	g.f = NewFallback(FallbackConfig{Policy: current, Limits: limiter.NewStore(limiter.DefaultConfig()), Hasher: hasher, Now: clock})
	return g
}

// few are records with room for so many keys.
func (g *rig) few(keys int) *Records {
	return NewRecords(RecordsConfig{Policy: g.w.c.Policy, Now: g.w.c.Now, KeysMax: keys})
}

func (g *rig) check(t testing.TB, r Request) Decision {
	t.Helper()
	d, err := g.w.Check(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (g *rig) open(t testing.TB, account string, credits ...ledger.Credits) {
	t.Helper()
	_, err := g.ledger.Open(t.Context(), ledger.OpenAccount{Key: "open-" + account, Account: account, UseCredits: true})
	for i, kind := range []ledger.Kind{ledger.Included, ledger.Promo, ledger.Credit} {
		if err == nil && i < len(credits) && credits[i] > 0 {
			_, err = g.ledger.Grant(t.Context(), ledger.Grant{Key: "grant-" + account + kind.String(), Account: account, Grant: kind.String(), Kind: kind, Amount: credits[i]})
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (g *rig) balance(t testing.TB, account string) ledger.Credits {
	t.Helper()
	a, err := g.ledger.Account(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	return a.Balance
}
