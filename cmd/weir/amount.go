package main

import (
	"fmt"
	"strconv"
	"strings"
)

// amount is credit in micro-credits; people write and read it as a decimal.
type amount int64

const amountDigits = 6 // after the point

// UnmarshalText reads a decimal without a sign that is exact to a micro-credit, such as 12 or 0.05.
func (a *amount) UnmarshalText(text []byte) error {
	whole, fraction, point := strings.Cut(string(text), ".")
	if whole == "" || (point && fraction == "") || len(fraction) > amountDigits {
		return fmt.Errorf("amount %q: expected credits such as 12 or 0.05, with at most %d digits after the point", text, amountDigits)
	}
	micros, err := strconv.ParseUint(whole+fraction+strings.Repeat("0", amountDigits-len(fraction)), 10, 63)
	if err != nil {
		return fmt.Errorf("amount %q: expected credits such as 12 or 0.05, below 9.2e12", text)
	}
	*a = amount(micros)
	return nil
}

// String writes the shortest decimal that is exact.
func (a amount) String() string {
	sign, micros := "", uint64(a)
	if a < 0 {
		sign, micros = "-", -micros
	}
	text := fmt.Sprintf("%s%d.%06d", sign, micros/1e6, micros%1e6)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}
