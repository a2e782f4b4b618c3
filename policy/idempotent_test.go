package policy

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

func TestRepeatedKeyAnswersTheSameAndTakesOnce(t *testing.T) {
	t.Parallel()
	g := newRig(t, spillPolicy)
	g.open(t, "alice", 0, 0, 1_000_000)
	c := Idempotent(g.w, IdempotentConfig{Policy: func() *Policy { return g.policy }, Now: func() time.Time { return g.now }, Records: g.few(2)})
	do := func(words ...string) (Decision, error) { return c.Check(t.Context(), alice(words...)) }
	first, err := do("key=k", "requests:3", "tokens:5")
	if err != nil || first.Reason != OKCredit {
		t.Fatal(first, err)
	}
	again, err := do("tokens:5", "requests:3", "key=k")
	if err != nil || !reflect.DeepEqual(first, again) || g.balance(t, "alice") != 970_000 {
		t.Errorf("%+v %v", again, err)
	}
	for _, other := range [][]string{{"key=k"}, {"key=k", "requests:3", "tokens:5", "model=x"}, {"key=k", "requests:3", "tokens:5", "reserve"}} {
		if _, err = do(other...); !errors.Is(err, ErrConflict) {
			t.Errorf("%v: %v", other, err)
		}
	}
	// At the bound the first decision is forgotten; the ledger still remembers its debit.
	for i := range 2 {
		if d, err := do(fmt.Sprint("key=other", i)); err != nil || d.Reason != OK {
			t.Fatal(d, err)
		}
	}
	g.now = g.now.Add(time.Minute)
	if again, err = do("key=k", "requests:3", "tokens:5"); err != nil || again.ID == first.ID || again.Reason != OKCredit || g.balance(t, "alice") != 970_000 {
		t.Errorf("%+v %v", again, err)
	}
	g.now = g.now.Add(11 * time.Minute)
	if d, err := do("key=k"); err != nil || d.Verdict != Allow {
		t.Errorf("the key is still taken: %+v %v", d, err)
	}
}

// slowly is what never decides at once.
type slowly func(context.Context, Request) (Decision, error)

func (f slowly) Check(ctx context.Context, r Request) (Decision, error) { return f(ctx, r) }
func (slowly) Try(*Request, *Decision) (bool, error)                    { return false, nil }

func TestDuplicatesInFlightWaitAndErrorsAreNotRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _ := Parse("f", []byte(spillPolicy))
		asked := 0
		slow := slowly(func(context.Context, Request) (Decision, error) {
			asked++
			time.Sleep(time.Second)
			if asked == 1 {
				return Decision{}, errors.New("no")
			}
			return Decision{Verdict: Allow, Home: "one"}, nil
		})
		current := func() *Policy { return p }
		records := NewRecords(RecordsConfig{Policy: current, Now: time.Now, KeysMax: 1})
		c := Idempotent(slow, IdempotentConfig{Policy: current, Now: time.Now, Records: records})
		var all sync.WaitGroup
		var mu sync.Mutex
		answers := map[string]int{}
		for range 20 {
			all.Go(func() {
				d, err := c.Check(t.Context(), alice("key=k"))
				mu.Lock()
				defer mu.Unlock()
				answers[fmt.Sprint(d.Home, err)]++
			})
		}
		time.Sleep(100 * time.Millisecond)
		if _, err := c.Check(t.Context(), alice("key=another")); !errors.Is(err, ErrUnavailable) {
			t.Error(err)
		}
		brief, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := c.Check(brief, alice("key=k")); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		all.Wait()
		if asked != 2 || answers["no"] != 1 || answers["one<nil>"] != 19 {
			t.Errorf("asked %d times: %v", asked, answers)
		}
	})
}

// A debit of unknown outcome may stand: who repeats the check learns it, and is not told for minutes that nothing was paid.
func TestARefusalForWantOfALedgerIsAskedAgain(t *testing.T) {
	t.Parallel()
	g := newRig(t, spillPolicy)
	g.open(t, "alice", 0, 0, 1_000_000)
	before := g.balance(t, "alice")
	c := Idempotent(g.w, IdempotentConfig{Policy: func() *Policy { return g.policy }, Now: func() time.Time { return g.now }})
	r := alice("requests:3", "key=k")
	g.log.broken = errors.New("the answer was lost")
	d, err := c.Check(t.Context(), r)
	if err != nil || d.Reason != LedgerUnavailable {
		t.Fatalf("%s, %v", told(d), err)
	}
	g.log.broken = nil
	for range 2 {
		if d, err := c.Check(t.Context(), r); err != nil || d.Reason != OKCredit {
			t.Errorf("asked again: %s, %v", told(d), err)
		}
	}
	if paid := before - g.balance(t, "alice"); paid != 30_000 {
		t.Errorf("paid %s for three requests at 0.01", paid)
	}
}

func TestDebitKeyKeepsTheTimeOfTheCallersKey(t *testing.T) {
	t.Parallel()
	old := "01ARZ3NDEKTSV4RRFFQ69G5FAV" // of 2016
	g := newRig(t, spillPolicy)
	g.open(t, "alice", 0, 0, 1_000_000)
	for _, key := range []string{old, "01932c07-209c-7c4e-a1b2-0123456789ab"} { // a UUIDv7 of 2024
		if _, err := g.w.Check(t.Context(), alice("requests:3", "key="+key)); !errors.Is(err, ledger.ErrTooOld) {
			t.Errorf("%s: %v", key, err)
		}
	}
	if debitKey("llm", "alice", old) == debitKey("llm", "bob", old) || debitKey("llm", "alice", "k") == debitKey("llm", "alice", "l") {
		t.Error("keys meet")
	}
}
