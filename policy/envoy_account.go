package policy

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/weir-cluster/weir/limiter"
	"github.com/weir-cluster/weir/ring"
)

// hashedAt is where "~~" and a hash end the account of a descriptor whose keys and values are too long.
const hashedAt = ring.AccountBytesMax - 2*16 - 2

// hashed reports whether the account is of such a descriptor: which one cannot be told from it.
func hashed(account string) bool {
	if len(account) != ring.AccountBytesMax || account[hashedAt:hashedAt+2] != "~~" {
		return false
	}
	_, err := hex.DecodeString(account[hashedAt+2:])
	return err == nil && strings.Trim(account[:hashedAt], accountBytes) == ""
}

const accountBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@-=~"

// descriptor returns entries that have the account and are matched by a rule. The error says what cannot be, and the
// nearest account that can.
//
// That a rule must stand there is stricter than a block needs: one could also be meant for descriptors that bring their
// own limit to a place without a rule. A key that nobody configured is far more often a slip, and whoever means it writes
// the rule down: `unlimited: true` is one.
func (t *EnvoyTree) descriptor(account string) ([]Attribute, error) {
	entries, whole := t.entriesOf(account)
	if !whole {
		return nil, fmt.Errorf("`%s` is no account id of domain `%s`, which is an Envoy tree: expected the keys and values of a descriptor joined by ~, "+
			"bytes outside A-Z a-z 0-9 . _ @ - as =XX%s", short(account), t.domain, t.example(entries))
	}
	a, err := t.account(entries)
	switch {
	case err != nil:
		return nil, err
	case t.Rule(entries) == nil:
		return nil, fmt.Errorf("no rule of domain `%s`, which is an Envoy tree, is for account `%s`: expected the keys and values of a descriptor that has one, joined by ~%s",
			t.domain, short(account), t.example(entries))
	case a.ID != account:
		return nil, fmt.Errorf("no request of domain `%s` has the account `%s`: a rule counts all that match it as one, whose account is `%s`",
			t.domain, short(account), a.ID)
	}
	return entries, nil
}

// entriesOf reads an account id back. It is not whole if it can be none; then the entries are those that could be read.
func (t *EnvoyTree) entriesOf(account string) (entries []Attribute, whole bool) {
	if len(account) > ring.AccountBytesMax {
		return nil, false
	}
	for i, part := range strings.Split(account, "~") {
		text, ok := unescaped(part)
		if whole = ok && string(appendEscaped(nil, text)) == part; i%2 == 0 {
			entries = append(entries, Attribute{Name: text})
		} else {
			entries[i/2].Value = text
		}
		if !whole || len(entries) > AttributesMax {
			return entries, false
		}
	}
	return entries, strings.Count(account, "~")%2 == 1
}

// example returns a clause with the account nearest to that of the entries for which there is a rule, if there is a rule
// at all.
func (t *EnvoyTree) example(entries []Attribute) string {
	level, near := &t.root, make([]Attribute, 0, len(entries)+1)
	for i := 0; ; i++ {
		var like Attribute
		if i < len(entries) {
			like = entries[i]
		}
		e, n := level.nearest(like)
		if n == nil {
			break
		}
		near, level = append(near, e), &n.next
		if n.rule != nil && i >= len(entries)-1 {
			break
		}
	}
	a, err := t.account(near)
	if err != nil || t.Rule(near) == nil {
		return ""
	}
	return fmt.Sprintf(", such as `%s`", a.ID)
}

// nearest returns the entry most like another that leads to a rule, and its descriptor; nil when none does.
func (l *envoyLevel) nearest(like Attribute) (Attribute, *envoyNode) {
	if n := l.find(like); n != nil && n.leads() && like.Value != "" {
		return like, n
	}
	var keys, values []string
	for e, n := range l.exact {
		if n.leads() {
			keys = append(keys, e.Name)
		}
	}
	for key, n := range l.anyValue {
		if n.leads() {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return Attribute{}, nil
	}
	slices.Sort(keys)
	e := Attribute{Value: cmp.Or(like.Value, "VALUE")}
	e.Name, _ = nearest(like.Name, slices.Compact(keys))
	if n := l.find(e); n != nil && n.leads() {
		return e, n
	}
	for other, n := range l.exact {
		if other.Name == e.Name && n.leads() {
			values = append(values, other.Value)
		}
	}
	slices.Sort(values)
	e.Value, _ = nearest(e.Value, values)
	return e, l.find(e)
}

// leads reports whether a rule stands at the descriptor or below.
func (n *envoyNode) leads() bool {
	if n.rule != nil {
		return true
	}
	for _, c := range n.next.exact {
		if c.leads() {
			return true
		}
	}
	for _, c := range n.next.anyValue {
		if c.leads() {
			return true
		}
	}
	return false
}

// limitOf returns the limit of that name which requests of an account meet, or why they never do.
func (t *EnvoyTree) limitOf(account, name string) (*limiter.Limit, error) {
	entries, err := t.descriptor(account)
	if err != nil {
		return nil, err
	}
	rule := t.Rule(entries)
	switch {
	case rule.limit.name != name:
		return nil, fmt.Errorf("the rule for account `%s` of domain `%s` is `%s`, not `%s`", short(account), t.domain, rule.limit.name, short(name))
	case rule.Unlimited:
		return nil, fmt.Errorf("the rule `%s` for account `%s` of domain `%s` is unlimited", short(name), short(account), t.domain)
	}
	return &rule.limit.bound, nil
}
