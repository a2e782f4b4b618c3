package policy

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// override carries out `override ACCOUNT LIMIT rate=R burst=N limit=N window=D until=TIME`.
func (s *story) override(words []string) (string, error) {
	if len(words) < 3 {
		return "", errors.New("found too few words, expected an account, a limit and what changes: override alice rpm rate=600/min")
	}
	o := Override{Domain: s.domain, Account: words[0], Limit: words[1]}
	for _, w := range words[2:] {
		field, value, _ := strings.Cut(w, "=")
		var err error
		switch field {
		case "rate":
			o.Terms.Rate = value
		case "window":
			o.Terms.Window = value
		case "burst":
			o.Terms.Burst, err = strconv.ParseInt(value, 10, 64)
		case "limit":
			o.Terms.Limit, err = strconv.ParseInt(value, 10, 64)
		case "until":
			o.Until, err = s.time(value)
		default:
			err = errors.New("unknown")
		}
		if err != nil {
			return "", fmt.Errorf("found `%s`, expected rate=R, burst=N, limit=N, window=D or until=TIME", short(w))
		}
	}
	_, err := s.book.SetOverride(context.Background(), s.agree, o)
	return answered("overridden", err)
}

func (s *story) unset(words []string) (string, error) {
	if len(words) != 2 {
		return "", errors.New("found too few or too many words, expected an account and a limit: unset alice rpm")
	}
	_, err := s.book.UnsetOverride(context.Background(), s.agree, s.domain, words[0], words[1])
	return answered("unset", err)
}

// block carries out `block ACCOUNT [until=TIME] [WHY...]`.
func (s *story) block(words []string) (string, error) {
	b := Block{Domain: s.domain, Account: words[0]}
	words = words[1:]
	if len(words) > 0 {
		if until, ok := strings.CutPrefix(words[0], "until="); ok {
			at, err := s.time(until)
			if err != nil {
				return "", err
			}
			b.Until, words = at, words[1:]
		}
	}
	b.Why = strings.Join(words, " ")
	_, err := s.book.Block(context.Background(), s.agree, b)
	return answered("blocked", err)
}

func (s *story) unblock(words []string) (string, error) {
	_, err := s.book.Unblock(context.Background(), s.agree, s.domain, words[0])
	return answered("unblocked", err)
}

// reset carries out `reset ACCOUNT [LIMIT]`.
func (s *story) reset(words []string) (string, error) {
	limit := ""
	if len(words) > 1 {
		limit = words[1]
	}
	_, err := s.book.Reset(context.Background(), s.agree, s.domain, words[0], limit)
	return answered("reset", err)
}
