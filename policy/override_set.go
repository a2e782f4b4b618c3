package policy

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weir-cluster/weir/limiter"
	"github.com/weir-cluster/weir/ring"
)

// Override is a limit that has other terms for one account.
type Override struct {
	Domain, Account, Limit string
	Terms                  Terms
	Until                  time.Time // zero: until it is unset
	Idle                   string    // why it has no effect under the policy in force; empty when it has. Not part of setting one
}

// Block is an account that is refused everything.
type Block struct {
	Domain, Account string
	Why             string    // for the user, at most 256 bytes; may be empty
	Until           time.Time // zero: until it is unblocked
}

// Beside is what holds for accounts beside the policy, ordered by domain, account and limit.
type Beside struct {
	Overrides []Override
	Blocks    []Block
}

// SetOverride gives a limit other terms for one account, in place of any override it has, and returns the revision at
// which that holds. When it returns, this node decides by it. A domain, account or limit that cannot be, and terms that
// the limit cannot have, are ErrInvalid with the nearest name, by the policy in force here; so is an Until that has
// passed. Returns ErrFull, or what p returned. An override outlives its limit: it is idle while the policy lacks it.
func (b *Book) SetOverride(ctx context.Context, p Proposer, o Override) (revision uint64, err error) {
	at, limits, err := b.place(o.Domain, o.Account, o.Limit)
	if err != nil {
		return 0, err
	}
	if _, err := limits.under(at, o.Terms); err != nil {
		return 0, invalid("override of %s: %v", short(o.Limit), err)
	}
	return b.mark(ctx, p, &command{kind: kindOverride, place: at, terms: o.Terms, until: o.Until})
}

// UnsetOverride has the policy hold again for a limit of an account. There being no override is ErrInvalid only for a
// limit that the domain does not have either; else nothing changes. It returns as SetOverride does.
func (b *Book) UnsetOverride(ctx context.Context, p Proposer, domain, account, limit string) (revision uint64, err error) {
	at, limits, err := b.place(domain, account, limit)
	if err != nil {
		return 0, err
	}
	if _, is := b.agreed().overrides[at]; !is {
		if _, err := limits.find(at); err != nil {
			return 0, invalid("there is no such override: %v", err)
		}
	}
	return b.mark(ctx, p, &command{kind: kindUnsetOverride, place: at})
}

// Block has every request of an account denied with BLOCKED, until k.Until. An account for which an Envoy tree has no
// rule is ErrInvalid, with the nearest that has one. It returns as SetOverride does.
func (b *Book) Block(ctx context.Context, p Proposer, k Block) (revision uint64, err error) {
	at, _, err := b.place(k.Domain, k.Account, "")
	if err == nil {
		err = b.reachable(at)
	}
	if err != nil {
		return 0, err
	}
	if len(k.Why) > wordMax || !utf8.ValidString(k.Why) {
		return 0, invalid("the why of a block is not UTF-8 of at most %d bytes", wordMax)
	}
	return b.mark(ctx, p, &command{kind: kindBlock, place: at, why: k.Why, until: k.Until})
}

// Unblock ends a block; there being none changes nothing. It returns as SetOverride does.
func (b *Book) Unblock(ctx context.Context, p Proposer, domain, account string) (revision uint64, err error) {
	at, _, err := b.place(domain, account, "")
	if err != nil {
		return 0, err
	}
	return b.mark(ctx, p, &command{kind: kindUnblock, place: at})
}

// Reset has every bucket that an account has of a limit, or of all limits when that is empty, start afresh. It returns
// as SetOverride does. The cluster remembers the last ResetsMax resets; an account whose reset is forgotten then starts
// afresh once more.
func (b *Book) Reset(ctx context.Context, p Proposer, domain, account, limit string) (revision uint64, err error) {
	at, limits, err := b.place(domain, account, limit)
	if err == nil {
		err = b.reachable(at)
	}
	if err != nil {
		return 0, err
	}
	if _, err := limits.find(at); limit != "" && err != nil {
		return 0, invalid("reset: %v", err)
	}
	known := b.agreed()
	return b.mark(ctx, p, &command{kind: kindReset, place: at, debts: known.debts(b.Current(), at), nonce: nonce()})
}

// debts is for how long buckets that a reset leaves behind may owe something, at most.
func (a *agreed) debts(p *Policy, at place) time.Duration {
	most := time.Minute
	d, err := p.Domain(at.domain)
	if err != nil {
		return most
	}
	d.each(func(l *limit) {
		if at.limit != "" && at.limit != l.name {
			return
		}
		most = max(most, debts(l.bound))
		if o, is := a.overrides[place{at.domain, at.account, l.name}]; is {
			if bound, err := o.terms.on(l.bound); err == nil {
				most = max(most, debts(bound))
			}
		}
	})
	return most
}

func nonce() uint64 {
	var room [8]byte
	_, _ = rand.Read(room[:]) // never fails, by its contract
	return binary.BigEndian.Uint64(room[:])
}

// debts is how long a bucket of the limit may owe something, at most.
func debts(l limiter.Limit) time.Duration {
	most := 2 * l.Period // a sliding window weighs the one before
	if l.Period <= 0 {
		most = 366 * day // a calendar window
	}
	if l.Burst > l.Count {
		most = time.Duration(min(float64(durationMax), float64(l.Burst)/float64(l.Count)*float64(l.Period))) + l.Period
	}
	return min(most, durationMax)
}

// Beside returns what holds beside the policy and has not ended at now: in one domain, or in all when that is empty;
// for one account, or for all.
func (b *Book) Beside(domain, account string, now time.Time) Beside {
	known := b.agreed()
	wanted := func(p place, until time.Time) bool {
		return (domain == "" || domain == p.domain) && (account == "" || account == p.account) && !past(until, now)
	}
	var all Beside
	limits := b.bounds()
	for p, o := range known.overrides {
		if !wanted(p, o.until) {
			continue
		}
		listed := Override{p.domain, p.account, p.limit, o.terms, o.until, ""}
		if _, err := limits.under(p, o.terms); err != nil {
			listed.Idle = err.Error()
		}
		all.Overrides = append(all.Overrides, listed)
	}
	for p, k := range known.blocks {
		if wanted(p, k.until) {
			all.Blocks = append(all.Blocks, Block{p.domain, p.account, k.why, k.until})
		}
	}
	slices.SortFunc(all.Overrides, func(x, y Override) int {
		return place{x.Domain, x.Account, x.Limit}.compare(place{y.Domain, y.Account, y.Limit})
	})
	slices.SortFunc(all.Blocks, func(x, y Block) int {
		return cmp.Or(strings.Compare(x.Domain, y.Domain), strings.Compare(x.Account, y.Account))
	})
	return all
}

func (b *Book) bounds() bounds {
	if p := b.Current(); p != nil {
		return p.bounds()
	}
	return (&Policy{}).bounds()
}

// place returns where a change belongs, and the limits it may be about.
func (b *Book) place(domain, account, limit string) (place, bounds, error) {
	at, limits := place{domain, account, limit}, b.bounds()
	if b.Current() == nil {
		return at, limits, fmt.Errorf("%w: this node has no policy yet", ErrUnavailable)
	}
	d, err := b.Current().Domain(domain)
	if err != nil {
		return at, limits, err
	}
	if !d.hasAccount(account) && d.envoy != nil {
		_, err := d.envoy.descriptor(account)
		return at, limits, invalid("%v", err)
	}
	if !d.hasAccount(account) {
		hint, err := ring.AccountID([]string{account})
		if err != nil || hint == account {
			hint = strings.Join(d.account, "~")
		}
		return at, limits, invalid("`%s` is no account id of domain `%s`, expected the values of [%s] joined by ~, bytes outside A-Z a-z 0-9 . _ @ - as =XX, such as %s",
			short(account), d.name, strings.Join(d.account, ", "), short(hint))
	}
	if len(domain) > wordMax || len(limit) > wordMax {
		return at, limits, invalid("the name of a domain or limit has more than %d bytes", wordMax)
	}
	return at, limits, nil
}

// reachable returns an error for an account of which no request can meet a rule, as Envoy trees have them.
func (b *Book) reachable(at place) error {
	d, err := b.Current().Domain(at.domain)
	if err != nil || d.envoy == nil || hashed(at.account) {
		return err
	}
	if _, err := d.envoy.descriptor(at.account); err != nil {
		return invalid("%v", err)
	}
	return nil
}

// hasAccount reports whether an account is written as those of the domain are. Those of an Envoy tree are keys and values,
// of which some may be empty; whether it has a rule for them is another question.
func (d *Domain) hasAccount(account string) bool {
	if d.envoy == nil {
		return accountID(account, len(d.account))
	}
	if hashed(account) {
		return true
	}
	for _, p := range strings.Split(account, "~") {
		if value, ok := unescaped(p); !ok || string(appendEscaped(nil, value)) != p {
			return false
		}
	}
	return account != "" && len(account) <= ring.AccountBytesMax
}

// accountID reports whether ring.AccountID returns s for some values, that many.
func accountID(s string, values int) bool {
	parts := strings.Split(s, "~")
	for i, p := range parts {
		value, ok := unescaped(p)
		if !ok {
			return false
		}
		parts[i] = value
	}
	id, err := ring.AccountID(parts)
	return err == nil && id == s && len(parts) == values
}

// unescaped turns =XX into the byte that it stands for.
func unescaped(s string) (string, bool) {
	var b []byte
	for i := 0; i < len(s); i++ {
		if s[i] != '=' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b = append(b, byte(c))
		i += 2
	}
	return string(b), true
}

// mark has the cluster agree on a change that is about an account.
func (b *Book) mark(ctx context.Context, p Proposer, x *command) (uint64, error) {
	if y := x.until.Year(); !x.until.IsZero() && (y < 1970 || y > 2200) {
		return 0, invalid("the year %d is outside 1970 to 2200", y)
	}
	at, err := b.propose(ctx, p, x)
	if err != nil {
		return 0, fmt.Errorf("change account %s of domain %s: %w", x.place.account, x.place.domain, err)
	}
	return at.revision, nil
}
