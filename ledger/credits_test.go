package ledger

import (
	"math"
	"testing"
)

func TestCreditsAreExactDecimals(t *testing.T) {
	for _, row := range []struct {
		text string
		want Credits
	}{
		{"0", 0},
		{"1", 1_000_000},
		{"1.25", 1_250_000},
		{"-0.5", -500_000},
		{"0.000001", 1},
		{"-0.000001", -1},
		{"0.1", 100_000},
		{"9223372036854.775807", math.MaxInt64},
		{"-9223372036854.775808", math.MinInt64},
	} {
		got, err := ParseCredits(row.text)
		if err != nil || got != row.want {
			t.Errorf("ParseCredits(%q) = %d, %v, want %d", row.text, got, err, row.want)
		}
		if s := row.want.String(); s != row.text {
			t.Errorf("Credits(%d) reads %q, want %q", row.want, s, row.text)
		}
	}
}

func TestParseCreditsRefusesWhatIsNotExact(t *testing.T) {
	for _, text := range []string{
		"", "-", ".", "1.", ".5", "+1", "1e3", "1,5", " 1", "0.0000001", "--1", "1.-5", "0x1", "1_000",
		"9223372036854.775808", "-9223372036854.775809", "99999999999999999999", "000000000000000000000000000000001",
	} {
		c, err := ParseCredits(text)
		if wantError(t, err, ErrInvalid); err == nil {
			t.Errorf("ParseCredits(%q) = %d", text, c)
		}
	}
}

func TestParseKindReadsWhatStringWrites(t *testing.T) {
	for k := range kindCount {
		if got, err := ParseKind(k.String()); err != nil || got != k {
			t.Errorf("ParseKind(%q) = %v, %v", k, got, err)
		}
	}
	_, err := ParseKind("gift")
	wantError(t, err, ErrInvalid)
}
