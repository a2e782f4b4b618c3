package ledger

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Credits is an amount in micro-credits: one credit is 1,000,000. Amounts are integers everywhere, because
// replicas compare their states bit by bit and money must not be rounded.
type Credits int64

// CreditsMax bounds the amount of one command and an overdraft: a billion credits.
const CreditsMax Credits = 1_000_000_000 * micros

const (
	micros         = 1_000_000
	decimals       = 6
	issuedMax      = Credits(1) << 61 // what one account may be granted in its life; keeps every sum in an int64
	bookMax        = Credits(1) << 62
	creditsTextMax = 32
)

// String returns the amount in credits as an exact decimal without trailing zeros, such as "1.25".
func (c Credits) String() string {
	sign, u := "", uint64(c)
	if c < 0 {
		sign, u = "-", -u
	}
	whole, part := u/micros, u%micros
	if part == 0 {
		return sign + strconv.FormatUint(whole, 10)
	}
	return sign + strconv.FormatUint(whole, 10) + "." + strings.TrimRight(fmt.Sprintf("%06d", part), "0")
}

// ParseCredits reads an amount in credits such as "12", "-0.5" or "1.000001". It is exact: more than six
// decimals, an exponent or an amount that does not fit is ErrInvalid.
func ParseCredits(text string) (Credits, error) {
	bad := fmt.Errorf("%w: %.32q is no amount with at most 6 decimals", ErrInvalid, text)
	digits, negative := strings.CutPrefix(text, "-")
	whole, part, dotted := strings.Cut(digits, ".")
	if len(text) > creditsTextMax || !allDigits(whole) || len(part) > decimals || (dotted && !allDigits(part)) {
		return 0, bad
	}
	u, err := strconv.ParseUint(whole+part+strings.Repeat("0", decimals-len(part)), 10, 64)
	switch {
	case err != nil:
		return 0, bad
	case negative && u <= -math.MinInt64:
		return Credits(-u), nil
	case !negative && u <= math.MaxInt64:
		return Credits(u), nil
	}
	return 0, bad
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
