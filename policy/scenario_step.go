package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

// step carries out `TIME VERB WORD...` and returns its answer. An error means that the step is not one.
func (s *story) step(line string) (string, error) {
	words := strings.Fields(line)
	if len(words) < 3 {
		return "", fmt.Errorf("found `%s`, expected a time, a verb and more, such as 0s check user=alice", short(line))
	}
	at, err := s.time(words[0])
	if err != nil {
		return "", err
	}
	s.now = at
	verbs := map[string]func(words []string) (string, error){
		"check": s.check, "settle": s.settle, "fallback": s.checkFallback,
		"open": s.open, "grant": s.grant, "balance": s.balance,
		"override": s.override, "unset": s.unset, "block": s.block, "unblock": s.unblock, "reset": s.reset,
	}
	act := verbs[words[1]]
	if act == nil {
		var known []string
		for v := range verbs {
			known = append(known, v)
		}
		slices.Sort(known)
		return "", fmt.Errorf("found `%s`, expected one of %s%s", short(words[1]), strings.Join(known, ", "), didYouMean(words[1], known))
	}
	return act(words[2:])
}

// time reads a moment: a span from the beginning of the story, or a date and time as RFC 3339 has them.
func (s *story) time(word string) (time.Time, error) {
	if word == "0s" {
		return time.Unix(scenarioBeginsUnix, 0).UTC(), nil
	}
	if after, ok := parseDuration(word); ok {
		return time.Unix(scenarioBeginsUnix, 0).UTC().Add(after), nil
	}
	at, err := time.Parse(time.RFC3339Nano, word)
	if err != nil || at.Year() < 1970 || at.Year() > 2200 {
		return at, fmt.Errorf("found `%s`, expected a time, such as 0s, 90s, 3d or 2026-03-29T01:30:00+01:00", short(word))
	}
	return at, nil
}

func (s *story) check(words []string) (string, error) {
	r, err := s.request(words)
	if err != nil {
		return "", err
	}
	d, err := s.waterfall.Check(context.Background(), r)
	if d.Reservation != "" {
		s.reservations = append(s.reservations, d.Reservation)
	}
	return answered(told(d), err)
}

func (s *story) checkFallback(words []string) (string, error) {
	nodes, err := strconv.Atoi(words[0])
	if err != nil {
		return "", fmt.Errorf("found `%s`, expected how many nodes there are", short(words[0]))
	}
	r, err := s.request(words[1:])
	if err != nil {
		return "", err
	}
	d, err := s.fallback.Check(context.Background(), r, nodes)
	return answered(told(d), err)
}

// request reads the words of a check: a=b is an attribute, m:n a cost, @d the domain, key=k the idempotency key; the other
// words are modes.
func (s *story) request(words []string) (Request, error) {
	r := Request{Domain: s.domain}
	for _, w := range words {
		attribute, value, isAttribute := strings.Cut(w, "=")
		meter, amount, isCost := strings.Cut(w, ":")
		mode, isMode := ParseMode(strings.ToUpper(w))
		domain, isDomain := strings.CutPrefix(w, "@")
		switch {
		case isDomain:
			r.Domain = domain
		case isAttribute && attribute == "key":
			r.IdempotencyKey = value
		case isAttribute:
			r.Attributes = append(r.Attributes, Attribute{attribute, value})
		case isCost:
			n, err := strconv.ParseInt(amount, 10, 64)
			if err != nil {
				return r, fmt.Errorf("found `%s`, expected a meter and an amount, such as tokens:100", short(w))
			}
			r.Cost = append(r.Cost, Cost{meter, n})
		case isMode:
			r.Mode = mode
		default:
			return r, fmt.Errorf("found `%s`, expected name=value, meter:amount, @domain, peek or reserve", short(w))
		}
	}
	return r, nil
}

func (s *story) settle(words []string) (string, error) {
	n, err := strconv.Atoi(words[0])
	if err != nil || n < 1 || n > len(s.reservations) {
		return "", fmt.Errorf("found `%s`, expected the number of a reservation, 1 to %d", short(words[0]), len(s.reservations))
	}
	settlement := Settlement{Reservation: s.reservations[n-1]}
	for _, w := range words[1:] {
		if extend, ok := strings.CutPrefix(w, "extend:"); ok {
			d, ok := parseDuration(extend)
			if !ok {
				return "", fmt.Errorf("found `%s`, expected extend: and a duration, such as extend:1h", short(w))
			}
			settlement.Extend = d
		} else if w == "final" {
			settlement.Final = true
		} else {
			r, err := s.request([]string{w})
			if err != nil || len(r.Cost) == 0 {
				return "", fmt.Errorf("found `%s`, expected meter:amount, extend:duration or final", short(w))
			}
			settlement.Actual = append(settlement.Actual, r.Cost...)
		}
	}
	a, err := s.waterfall.Settle(context.Background(), settlement)
	line := "charged" + drawn(a.Sources)
	if a.Forgiven > 0 {
		line += " forgiven " + a.Forgiven.String()
	}
	if a.Final {
		line += " ended"
	} else {
		line += " open for " + a.Expires.String()
	}
	return answered(line, err)
}

func (s *story) open(words []string) (string, error) {
	o := ledger.OpenAccount{Key: "open " + strings.Join(words, " "), Account: words[0], UseCredits: true}
	for i := 1; i < len(words); i++ {
		switch {
		case words[i] == "unwilling":
			o.UseCredits = false
		case words[i] == "overdraft" && i+1 < len(words):
			amount, err := ledger.ParseCredits(words[i+1])
			if err != nil {
				return "", err
			}
			o.Overdraft = amount
			i++
		default:
			return "", fmt.Errorf("found `%s`, expected unwilling, or overdraft and an amount", short(words[i]))
		}
	}
	_, err := s.ledger.Open(context.Background(), o)
	return answered("opened", err)
}

func (s *story) grant(words []string) (string, error) {
	if len(words) != 3 {
		return "", errors.New("found too few or too many words, expected an account, a kind and an amount: grant alice promo 0.5")
	}
	kind, err := ledger.ParseKind(words[1])
	if err != nil {
		return "", err
	}
	amount, err := ledger.ParseCredits(words[2])
	if err != nil {
		return "", err
	}
	s.grants++
	name := "g" + strconv.Itoa(s.grants)
	_, err = s.ledger.Grant(context.Background(), ledger.Grant{Key: name, Account: words[0], Kind: kind, Amount: amount})
	return answered("granted "+name, err)
}

func (s *story) balance(words []string) (string, error) {
	a, err := s.ledger.Account(context.Background(), words[0])
	return answered(a.Balance.String(), err)
}

// answered turns an error of what was asked into its answer.
func answered(line string, err error) (string, error) {
	if err != nil {
		return "error: " + err.Error(), nil
	}
	return line, nil
}

// told writes a decision as one line: verdict, reason, sources, status, who refused, remedy, wait, message, what is left.
func told(d Decision) string {
	line := d.Verdict.String() + " " + d.Reason.String() + drawn(d.Sources)
	if d.Verdict == Deny {
		line += " " + strconv.Itoa(d.Status())
		if d.Refusing != "" {
			line += " by " + d.Refusing
		}
		line += " remedy " + d.Remedy.String()
		if d.RetryAfter > 0 {
			line += " retry " + d.RetryAfter.String()
		}
		line += ` "` + d.Message + `"`
	}
	for _, l := range d.Limits {
		line += " [" + l.Name + " " + strconv.FormatInt(l.Remaining, 10)
		if l.Overridden {
			line += " of " + strconv.FormatInt(l.Limit, 10)
		}
		if l.Shadow {
			line += " shadow"
			if l.Refused {
				line += " would refuse"
			}
		}
		line += "]"
	}
	return line
}

func drawn(all []Draw) (text string) {
	for _, s := range all {
		text += fmt.Sprintf(" %s %s:%d", s.Source, s.Meter, s.Amount)
		if s.Source != FromLimit {
			text += fmt.Sprintf(" (%s of %s)", s.Credits, s.Grant)
		}
	}
	return text
}
