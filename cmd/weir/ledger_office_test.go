package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

const (
	officeClerks  = 6
	officePause   = 5 * time.Millisecond
	officeWait    = 2 * time.Second // for an answer
	officeHolds   = 20              // of a clerk, open at once
	officeCharges = 50              // of a clerk, that may be refunded
)

var officeAccounts = [...]string{"deep", "wide", "thin"}

// office is clerks who write to a ledger that is hurt meanwhile, and what they heard.
type office struct {
	c       *cluster
	granted map[string]int64
	setUp   []string // keys

	mu    sync.Mutex
	deeds []*deed
}

// deed is one write, under a key of its own.
type deed struct {
	key, account, movement string
	ask                    write
	of                     *deed     // the hold that it is about
	began, ended           time.Time // of the first try, and when a receipt came
	heard                  string
	receipt                client.Receipt
}

type write func(ctx context.Context, weir *rest.Client, key string) (client.Receipt, error)

// What was heard of a deed.
const (
	done    = "done"
	refused = "refused"
	never   = "not sent or not allowed" // and so surely not written
	unknown = "unknown"
)

// openOffice opens the accounts: of one the credit is soon gone.
func (c *cluster) openOffice(t *testing.T) *office {
	t.Helper()
	o := &office{c: c, granted: map[string]int64{}}
	for i, account := range officeAccounts {
		o.granted[account] = []int64{1_000_000_000_000, 1_000_000_000_000, 500_000}[i]
		c.fund(t, i%len(c.clients), account, o.granted[account])
		o.setUp = append(o.setUp, "open-"+account, "grant-"+account)
	}
	return o
}

// do sends a write to a node and notes what is heard.
func (o *office) do(node int, d *deed) {
	if d.began.IsZero() {
		d.began = time.Now()
	}
	ctx, cancel := context.WithTimeout(o.c.ctx, officeWait)
	defer cancel()
	receipt, err := d.ask(ctx, o.c.clients[node], d.key)
	switch {
	case err == nil:
		d.receipt, d.ended, d.heard = receipt, time.Now(), done
		if receipt.Refused() {
			d.heard = refused
		}
	case errors.Is(err, client.ErrUnreachable) || answeredBelow500(err):
		if d.heard == "" {
			d.heard = never
		}
	default:
		d.heard = unknown
	}
}

// work is a clerk.
func (o *office) work(stop <-chan struct{}, r *rand.Rand, name string) {
	k := &clerk{r: r}
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(officePause):
		}
		d := k.next()
		d.key = fmt.Sprint(name, "-", n, "-", d.movement)
		o.do(r.IntN(len(o.c.clients)), d)
		k.heed(d)
		o.mu.Lock()
		o.deeds = append(o.deeds, d)
		o.mu.Unlock()
	}
}

// clerk is what one knows of what it did.
type clerk struct {
	r       *rand.Rand
	holds   []*deed // surely open
	charges []*deed // surely made
}

// next is what to do next: to a hold or a charge of its own, if it has one, or something new.
func (k *clerk) next() *deed {
	micros := 1 + k.r.Int64N(5000)
	switch dice := k.r.IntN(10); {
	case dice < 4 && len(k.holds) > 0:
		return k.settle(k.r.IntN(len(k.holds)), micros)
	case dice < 6 && len(k.holds) < officeHolds:
		account := k.account()
		return &deed{account: account, movement: "authorize", ask: func(ctx context.Context, weir *rest.Client, key string) (client.Receipt, error) {
			return weir.Authorize(ctx, key, account, client.Hold{AmountMicros: micros, TTLMS: time.Hour.Milliseconds()})
		}}
	case dice < 7 && len(k.charges) > 0:
		charge := k.charges[k.r.IntN(len(k.charges))]
		return &deed{account: charge.account, movement: "refund", ask: func(ctx context.Context, weir *rest.Client, key string) (client.Receipt, error) {
			return weir.Refund(ctx, key, charge.key, client.Refund{AmountMicros: micros})
		}}
	default:
		account, overshoot := k.account(), []string{client.OvershootCap, client.OvershootDeny}[k.r.IntN(2)]
		return &deed{account: account, movement: "debit", ask: func(ctx context.Context, weir *rest.Client, key string) (client.Receipt, error) {
			return weir.Debit(ctx, key, account, client.Debit{AmountMicros: micros, Overshoot: overshoot})
		}}
	}
}

func (k *clerk) account() string { return officeAccounts[k.r.IntN(len(officeAccounts))] }

// settle captures, extends or releases a hold. It is the clerk's own no more, until heed finds that it is surely open.
func (k *clerk) settle(at int, micros int64) *deed {
	h := k.holds[at]
	k.holds = slices.Delete(k.holds, at, at+1)
	d := &deed{account: h.account, of: h}
	switch k.r.IntN(4) {
	case 0:
		d.movement = "release"
		d.ask = func(ctx context.Context, weir *rest.Client, key string) (client.Receipt, error) {
			return weir.Release(ctx, key, h.key, "")
		}
	case 1:
		d.movement = "extend"
		d.ask = func(ctx context.Context, weir *rest.Client, key string) (client.Receipt, error) {
			return weir.Extend(ctx, key, h.key, client.Extension{AmountMicros: micros})
		}
	default:
		d.movement = "capture"
		final := k.r.IntN(2) == 0
		d.ask = func(ctx context.Context, weir *rest.Client, key string) (client.Receipt, error) {
			return weir.Capture(ctx, key, h.key, client.Capture{AmountMicros: micros, Final: final})
		}
	}
	return d
}

// heed notes what was surely done.
func (k *clerk) heed(d *deed) {
	switch {
	case d.of != nil && d.receipt.Hold != nil && d.receipt.Hold.State == "open":
		k.holds = append(k.holds, d.of)
	case d.heard != done:
	case d.movement == "authorize":
		k.holds = append(k.holds, d)
	case d.movement == "debit" && len(k.charges) < officeCharges:
		k.charges = append(k.charges, d)
	}
}

// tally counts what was heard.
func (o *office) tally() map[string]int {
	all := map[string]int{}
	for _, d := range o.deeds {
		all[d.heard]++
	}
	return all
}

// movements counts what was done.
func (o *office) movements() map[string]int {
	all := map[string]int{}
	for _, d := range o.deeds {
		if d.heard == done {
			all[d.movement]++
		}
	}
	return all
}

// settle repeats what is unknown with its key until something is heard, and counts what.
func (o *office) settle(t *testing.T) map[string]int {
	t.Helper()
	all := map[string]int{}
	for i, d := range o.deeds {
		if d.heard != unknown {
			continue
		}
		d.heard = ""
		o.c.until(t, "an answer to "+d.key, func() bool {
			d.heard = ""
			o.do(i%len(o.c.clients), d)
			return d.heard != unknown
		})
		word := d.heard
		if d.heard == done && d.receipt.Replayed {
			word = "done before"
		}
		all[word]++
	}
	return all
}

// ask repeats some writes that were answered: each must be answered as before.
func (o *office) ask(t *testing.T, r *rand.Rand) {
	t.Helper()
	for range 50 {
		d := o.deeds[r.IntN(len(o.deeds))]
		if d.heard != done && d.heard != refused {
			continue
		}
		again := *d
		o.do(r.IntN(len(o.c.clients)), &again)
		first := d.receipt
		first.Replayed, first.Attempts = true, again.receipt.Attempts
		was, err1 := json.Marshal(first)
		is, err2 := json.Marshal(again.receipt)
		if again.heard != d.heard || again.receipt.Attempts < 2 || string(was) != string(is) || errors.Join(err1, err2) != nil {
			t.Errorf("%s was %s with\n%s\nits repetition %s with\n%s", d.key, d.heard, was, again.heard, is)
		}
	}
}

// history lists all entries of an account, the oldest first.
func (o *office) history(t *testing.T, account string) (all []client.Entry) {
	t.Helper()
	o.c.until(t, "the history of "+account, func() bool {
		all = nil
		for p := (client.Page{}); ; {
			h, err := o.c.clients[0].History(o.c.ctx, account, p)
			if err != nil {
				t.Log(err)
				return false
			}
			if all = append(all, h.Entries...); h.Next == "" {
				return true
			}
			p = client.Page{Cursor: h.Next}
		}
	})
	return all
}
