package ledger

import (
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// Config bounds a Machine. It is part of the state machine: every voter needs the same, always.
type Config struct {
	Accounts int           // accounts
	Grants   int           // grants of an account with something left; four times as many with those lately used up
	Keys     int           // idempotency keys remembered at once: about 26 h times the rate of commands
	Entries  int           // newest entries of an account that stay readable; up to twice as many are held
	Jump     time.Duration // how far the clock may run ahead between two commands before it is not believed
}

// DefaultConfig is for a node with some GB to spare: measured, an account takes about 300 B, each of its grants
// 110 B, an entry 300 B and a key 250 B.
func DefaultConfig() Config {
	return Config{Accounts: 1_000_000, Grants: 256, Keys: 1_000_000, Entries: 100, Jump: 366 * 24 * time.Hour}
}

// Validate checks that every bound is positive and a key's window fits into a believable step of time.
func (c Config) Validate() error {
	if c.Accounts < 1 || c.Grants < 1 || c.Keys < keysPerTurn || c.Entries < 1 || c.Jump < keyWindow {
		return fmt.Errorf("%w: ledger config %+v has a bound that is too low", ErrInvalid, c)
	}
	return nil
}

// Machine is the ledger's state: a function of the commands applied to it, without clock, randomness or I/O.
// One goroutine calls Apply, Snapshot, Restore and Digest; Accounts and Keys may be called from any.
type Machine struct {
	config   Config
	now      int64 // log time in nanoseconds; never goes back, 0 before the first command
	accounts []*account
	byID     map[string]*account
	keys     keys
	epoch    uint64   // one more with each snapshot; older accounts and records are copied before a change
	touched  *account // by the current command

	accountCount, keyCount atomic.Int64
}

// NewMachine returns an empty ledger. It panics if the config does not Validate.
func NewMachine(c Config) *Machine {
	if err := c.Validate(); err != nil {
		panic(err)
	}
	return &Machine{config: c, byID: map[string]*account{}, keys: keys{byKey: map[string]*record{}}}
}

// Accounts returns how many accounts there are.
func (m *Machine) Accounts() int { return int(m.accountCount.Load()) }

// Keys returns how many idempotency keys are remembered.
func (m *Machine) Keys() int { return int(m.keyCount.Load()) }

// Apply executes a command and returns its reply, both in the ledger's own encoding; what cannot be done or
// read is an encoded refusal. Replicas that apply the same stamps and commands have equal states and replies.
// Apply keeps neither slice. It panics when the books do not balance, because no later answer could be trusted.
func (m *Machine) Apply(at Stamp, command []byte) []byte {
	reply, err := m.apply(at, command)
	if m.touched != nil {
		if err := m.touched.audit(); err != nil {
			panic(fmt.Sprintf("ledger: account %q is broken: %v", m.touched.id, err))
		}
		m.touched = nil
	}
	m.accountCount.Store(int64(len(m.accounts)))
	m.keyCount.Store(int64(m.keys.count))
	if err != nil {
		return encodeReply(repliesRefusal, refusalOf(err).wire)
	}
	return reply
}

func (m *Machine) apply(at Stamp, b []byte) ([]byte, error) {
	c, err := decodeCommand(b)
	if err != nil {
		return nil, err
	}
	if at.Wall, err = m.advance(at.Wall); err != nil {
		return nil, err
	}
	m.keys.drop(m.hour(), dropsMax)
	switch c := c.(type) {
	case *readAccount:
		a, err := m.touch(c.account, at)
		if err != nil {
			return nil, err
		}
		v := a.view(at)
		return encodeReply(repliesAccount, v.wire), nil
	case *readEntries:
		a, err := m.touch(c.account, at)
		if err != nil {
			return nil, err
		}
		found := a.entriesAfter(c.after, int(c.limit))
		return encodeReply(repliesEntries, func(w *coder) { wireEntries(w, &found) }), nil
	}
	sum := sha256.Sum256(b[1:]) // without the version: the op and the intent
	return m.once(at, c.(intent), digest(sum[:]))
}

// advance moves log time on to wall and returns it. Behind it, log time stands still. A clock that jumps too
// far is refused, for once believed it could not be taken back: grants would have expired and keys be forgotten.
func (m *Machine) advance(wall time.Time) (time.Time, error) {
	if wall.Before(time.Unix(0, 1)) || wall.After(time.Unix(0, math.MaxInt64)) {
		return wall, fmt.Errorf("%w: %s", ErrClock, wall)
	}
	ahead := time.Duration(wall.UnixNano() - m.now)
	if m.now != 0 && ahead > m.config.Jump {
		return wall, fmt.Errorf("%w: %s ahead of the log", ErrClock, ahead)
	}
	m.now = max(m.now, wall.UnixNano())
	return time.Unix(0, m.now).UTC(), nil
}

func (m *Machine) hour() int64 { return hourOf(m.now) }

// once runs an intent, unless its key was used before.
func (m *Machine) once(at Stamp, in intent, sum digest) ([]byte, error) {
	key, account := in.head()
	if err := checkAge(key, m.now); err != nil {
		return nil, err
	}
	r := m.keys.find(key, m.hour())
	if r != nil && r.reply != nil {
		if r.intent != sum || r.op != in.op() {
			return nil, fmt.Errorf("%w: key %q was used for another %s", ErrConflict, key, r.op)
		}
		return replay(r.reply), nil
	}
	if m.keys.count+keysPerTurn > m.config.Keys {
		return nil, fmt.Errorf("%w: %d keys remembered", ErrFull, m.keys.count)
	}
	var receipt Receipt
	var err error
	if r == nil {
		receipt, err = in.run(m, at)
	} else {
		receipt, err = m.tooLate(at, r, in)
	}
	if err != nil {
		return nil, err
	}
	reply := encodeReply(repliesReceipt, receipt.wire)
	m.remember(&record{key: key, op: in.op(), account: account, intent: sum, reply: reply})
	return reply, nil
}

// tooLate answers the debit whose key a return has barred.
func (m *Machine) tooLate(at Stamp, bar *record, in intent) (Receipt, error) {
	key, id := in.head()
	if in.op() != bar.op || id != bar.account {
		return Receipt{}, fmt.Errorf("%w: key %q is barred by the return of a debit of account %q", ErrConflict, key, bar.account)
	}
	a, err := m.touch(id, at)
	if err != nil {
		return Receipt{}, err
	}
	receipt := a.receipt(at)
	receipt.Outcome = Returned
	return receipt, nil
}

func (m *Machine) remember(r *record) {
	r.hour, r.epoch = m.hour(), m.epoch
	m.keys.add(r)
}

// touch returns an account, brought up to log time and ready to be changed.
func (m *Machine) touch(id string, at Stamp) (*account, error) {
	a := m.byID[id]
	if a == nil {
		return nil, fmt.Errorf("%w: %q", ErrNoAccount, id)
	}
	if a.epoch != m.epoch {
		a = a.clone()
		a.epoch = m.epoch
		m.accounts[a.at], m.byID[id] = a, a
	}
	a.settle(at, m.config.Entries)
	m.touched = a
	return a, nil
}

// receipt is that of a command that did nothing yet.
func (a *account) receipt(at Stamp) Receipt {
	_, balance := a.byKind(at.Wall.UnixNano())
	return Receipt{Account: a.id, Seq: a.seq, BalanceAfter: balance, Index: at.Index, Term: at.Term, Wall: at.Wall}
}

func (a *account) entriesAfter(seq uint64, limit int) []Entry {
	i, _ := slices.BinarySearchFunc(a.entries, seq, func(e Entry, s uint64) int {
		if e.Seq > s {
			return 1
		}
		return -1
	})
	return a.entries[i:min(i+limit, len(a.entries))]
}
