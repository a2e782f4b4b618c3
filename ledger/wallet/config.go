package wallet

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/journal"
)

// ErrInvalid is returned for a Config whose bounds do not fit together.
var ErrInvalid = errors.New("invalid wallet")

// Way says how a draw may be paid. It goes by whether its key can come again.
type Way uint8

// The ways.
const (
	Keyed  Way = iota // the key is its caller's, or is returned by name later: the ledger remembers it as that of a debit
	Loose             // nobody repeats the key, and it is returned within undoFor or never; costs the ledger no memory
	Direct            // always a debit at the ledger
)

// Config is what a Wallet works with. Start from DefaultConfig; Home, Incarnation, Purse, Lender and Now must still be set.
type Config struct {
	Home        string // the name under which allowances are asked for
	Incarnation uint64 // greater with each start; one that the spend log has seen already is passed
	Purse       Purse  // where draws go that no allowance covers
	Lender      Lender
	Now         func() time.Time          // by which allowances end: its differences must be those of a monotonic clock
	Way         func(d *ledger.Debit) Way // how a draw may be paid; nil: all are Keyed. It must not block
	Log         journal.Files             // where the spend log is; nil: there is none, and a killed process loses what was not reported
	LogBytes    int64                     // that the spend log may take; with three quarters in use draws go to Purse
	Sync        bool                      // the spend log is durable before a draw is answered, not only written
	Logger      *slog.Logger              // by default nowhere

	TTL        time.Duration  // that an allowance is asked for
	Every      time.Duration  // at the latest after which draws are reported, and an allowance that nobody draws from is given back
	Wait       time.Duration  // for an answer of the ledger
	Quiet      time.Duration  // that the ledger is not asked for an allowance again after it had none for an account
	Span       time.Duration  // an allowance is asked for as much as was used of late in this time
	WantMax    ledger.Credits // that is asked for at once
	Unreported ledger.Credits // that draws from one allowance may amount to which the ledger has not confirmed; larger draws go to Purse
	Items      int            // such draws from one allowance
	AllItems   int            // and from all, as counted four times in Every; beyond it draws go to Purse
	Accounts   int            // that are remembered; draws of others go to Purse
	Allowances int            // that are held at once
	Calls      int            // to the ledger at once
}

// DefaultConfig has the bounds that a node uses.
func DefaultConfig() Config {
	return Config{
		LogBytes: 256 << 20, TTL: 30 * time.Second, Every: time.Second, Wait: 2 * time.Second, Quiet: time.Second, Span: 10 * time.Second,
		WantMax: 10_000 * credit, Unreported: 50 * credit, Items: 20_000, AllItems: 1_000_000,
		Accounts: 65_536, Allowances: 8192, Calls: 32,
	}
}

const credit ledger.Credits = 1_000_000

// Validate checks that there is all that is needed and that the bounds fit together.
func (c Config) Validate() error {
	switch {
	case c.Home == "" || len(c.Home) > ledger.HomeMax || c.Incarnation == 0:
		return fmt.Errorf("%w: home %q, incarnation %d", ErrInvalid, c.Home, c.Incarnation)
	case c.Purse == nil || c.Lender == nil || c.Now == nil:
		return fmt.Errorf("%w: no purse, lender or clock", ErrInvalid)
	case c.TTL < 2*c.Every || c.TTL > ledger.LendTTLMax || c.TTL < time.Second || c.Every <= 0 || c.Wait <= 0 || c.Quiet <= 0 || c.Span < c.Every:
		return fmt.Errorf("%w: allowances for %s, of the use in %s, reported every %s, with %s to wait and %s of quiet", ErrInvalid, c.TTL, c.Span, c.Every,
			c.Wait, c.Quiet)
	case c.WantMax < 1 || c.WantMax > ledger.CreditsMax || c.Unreported < 1 || c.Items < 1 || c.AllItems < 1 || c.Accounts < 1 || c.Allowances < 1 || c.Calls < 1:
		return fmt.Errorf("%w: a bound is too low", ErrInvalid)
	case c.Log != nil && (c.LogBytes < 8*segmentBytesMin || c.LogBytes > 1<<33):
		return fmt.Errorf("%w: a spend log of %d bytes, %d at least", ErrInvalid, c.LogBytes, 8*segmentBytesMin)
	}
	return nil
}
