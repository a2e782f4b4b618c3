package main

import (
	"math"
	"testing"
)

func TestAmountsAreExactToAMicroCredit(t *testing.T) {
	t.Parallel()
	rows := []struct {
		text   string
		micros int64
	}{
		{"0", 0},
		{"12", 12_000_000},
		{"0.05", 50_000},
		{"0.000001", 1},
		{"1.234567", 1_234_567},
		{"9223372036854.775807", math.MaxInt64},
	}
	for _, r := range rows {
		var a amount
		if err := a.UnmarshalText([]byte(r.text)); err != nil || int64(a) != r.micros || a.String() != r.text {
			t.Errorf("%q is %d micro-credits and reads %q, %v; want %d", r.text, a, a, err, r.micros)
		}
	}
	for _, text := range []string{"", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", "0.0000001", "1.2.3", "1_0", "0x1", " 1", "1.-5", "9223372036854.775808"} {
		var a amount
		if err := a.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %v", text, a)
		}
	}
	if got := amount(math.MinInt64).String(); got != "-9223372036854.775808" {
		t.Errorf("the least amount reads %s", got)
	}
}

func FuzzAmountReadsWhatItWrites(f *testing.F) {
	for _, text := range []string{"0", "0.05", "00012.5", "9223372036854.775807", "-1", "1."} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var a, again amount
		if a.UnmarshalText([]byte(text)) != nil {
			return
		}
		if err := again.UnmarshalText([]byte(a.String())); err != nil || again != a || a < 0 {
			t.Errorf("%q is %d, written as %s, read again as %d, %v", text, a, a, again, err)
		}
	})
}
