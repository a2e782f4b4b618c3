package ledger

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"time"
)

// errBroken is a state that breaks one of its own invariants.
var errBroken = errors.New("the ledger's state is broken")

// Config bounds a Machine. All but the journal is part of the state machine: every voter needs the same, always.
type Config struct {
	Accounts     int           // accounts
	Grants       int           // grants of an account with something left; four times as many with those lately used up
	Keys         int           // idempotency keys remembered at once: about 26 h times the rate of commands
	Holds        int           // open holds; twice as many with those that ended in the last day
	AccountHolds int           // open holds of an account
	Allowances   int           // open allowances; twice as many with those that lapsed in the last day
	Cursors      int           // of event consumers
	Jump         time.Duration // how far the clock may run ahead between two commands before it is not believed
	RefundLife   time.Duration // of a grant that takes a refund whose source has expired

	AccountAllowances int           // open allowances of an account
	Share             int           // of what an account has, the percentage that one allowance gets
	Chunk             Credits       // an allowance gets as much even if its share is less
	Direct            Credits       // an account that has less is not lent from: its homes ask the ledger for each draw
	Grace             time.Duration // from when an allowance ends for its home until what is left of it comes back

	Journal Journal // where the events go; nil: they are not kept
}

// DefaultConfig is for a node with some GB to spare. Measured: an account with a grant takes 260 B, a key 160 B, a hold with its
// key 370 B.
func DefaultConfig() Config {
	return Config{
		Accounts: 1_000_000, Grants: 256, Keys: 1_000_000, Holds: 1_000_000, AccountHolds: 1000, Cursors: 256,
		Jump: 366 * 24 * time.Hour, RefundLife: 7 * 24 * time.Hour,
		Allowances: 100_000, AccountAllowances: 64, Share: 20, Chunk: micros / 10, Direct: micros, Grace: 30 * time.Second,
	}
}

// Validate checks that every bound is positive and a key's window fits into a believable step of time.
func (c Config) Validate() error {
	if c.Accounts < 1 || c.Grants < 1 || c.Keys < keysPerTurn || c.Holds < 1 || c.AccountHolds < 1 || c.Cursors < 1 ||
		c.Jump < keyWindow || c.RefundLife < time.Second || c.Allowances < 1 || c.AccountAllowances < 1 || c.Chunk < 1 || c.Direct < 0 ||
		c.Grace < time.Second {
		return fmt.Errorf("%w: ledger config %+v has a bound that is too low", ErrInvalid, c)
	}
	if c.Share < 1 || c.Share > 100 || c.Chunk > CreditsMax || c.Direct > CreditsMax {
		return fmt.Errorf("%w: ledger config lends %d %% and %s of an account with %s", ErrInvalid, c.Share, c.Chunk, c.Direct)
	}
	return nil
}

// head is what the state has besides its records.
type head struct {
	format      uint8         // the newest that a command had; events, counting and attempts begin with format 2
	now         int64         // log time in nanoseconds; never goes back, 0 before the first command
	elapsed     time.Duration // likewise
	term, index uint64        // of the last command
	count       uint64        // commands of format 2 and since
	seq         uint64        // of the last event
	chain       [32]byte      // over all events
}

func (h *head) wire(c *coder) {
	c.byte(&h.format)
	c.int(&h.now)
	c.duration(&h.elapsed)
	c.uint(&h.term)
	c.uint(&h.index)
	c.uint(&h.count)
	c.uint(&h.seq)
	c.fixed(h.chain[:])
}

func (h *head) hour() int64 { return hourOf(h.now) }

// stamp is that of the last command.
func (h *head) stamp() Stamp {
	return Stamp{Term: h.term, Index: h.index, Wall: fromNanos(h.now, 0), Elapsed: h.elapsed}
}

// Machine is the ledger's state: a function of the commands applied to it, without clock, randomness or I/O but its
// journal. One goroutine calls Apply, Snapshot and Restore; Query, Digest and the rest may be called from any, beside it.
type Machine struct {
	config Config

	mu       sync.RWMutex // guards what follows against readers; the goroutine of Apply alone changes it, and reads without
	head     head
	accounts *table
	holds    *table
	keys     *keys
	cursors  map[string]uint64
	cursed   sum // of cursors
	due      due
	ended    ended
	lent     lent
	notes    notes

	// Only for the goroutine of Apply.
	work    head  // of the next state
	broken  error // why this replica cannot go on
	tx      tx
	in, out coder
	zones   map[string]*time.Location
}

// NewMachine returns an empty ledger. It panics if the config does not Validate.
func NewMachine(c Config) *Machine {
	if err := c.Validate(); err != nil {
		panic(err)
	}
	return &Machine{
		config: c, accounts: newTable(sumAccounts), holds: newTable(sumHolds), keys: newKeys(), cursors: map[string]uint64{},
		due: newDue(), zones: map[string]*time.Location{},
	}
}

// Apply executes a command and returns its reply, both in the ledger's own encoding; what cannot be done or read is an
// encoded refusal. Replicas that apply the same stamps and commands have equal states and replies. It keeps no slice. An error
// means that this replica cannot go on, now or later, and did not change: its books do not balance, its journal fails or
// has something else, it differs from the leader, or the command is newer than this program.
func (m *Machine) Apply(at Stamp, command []byte) ([]byte, error) {
	if m.broken != nil {
		return nil, m.broken
	}
	in, format, err := decodeInto(&m.in, string(command))
	if errors.Is(err, ErrNewer) {
		m.broken = err
		return nil, err
	}
	m.work = m.head
	var reply []byte
	if err == nil {
		reply, err = m.apply(at, in, format, command)
	}
	if m.broken != nil {
		return nil, m.broken
	}
	m.publish()
	if err != nil {
		return encodeReply(min(max(format, wireFirst), wireNewest), repliesRefusal, refusalOf(err).wire), nil
	}
	return reply, nil
}

// publish shows readers the time and place to which the state has come, and notes its digest now and then.
func (m *Machine) publish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.head = m.work
	if m.work.count > 0 && m.work.count%compareEvery == 0 {
		m.notes.take(m.work.count, m.digest())
	}
}

func (m *Machine) apply(at Stamp, in command, format uint8, b []byte) ([]byte, error) {
	if err := m.advance(&at); err != nil {
		return nil, err
	}
	m.work.format = max(m.work.format, format)
	if m.work.format >= wireSecond {
		m.work.count++
	}
	m.forget()
	switch c := in.(type) {
	case intent:
		return m.once(at, c, format, b)
	case exchange:
		return m.exchange(at, c, format)
	case *readAccount:
		return m.readAccount(at, c)
	case *readEntries:
		return m.readEntries(at, c)
	case *ask:
		m.publish()
		return m.Query([]byte(c.query)), nil
	case *SetCursor:
		return m.setCursor(at, c)
	case *tick:
		return m.lapseAll(at)
	case *compare:
		return m.compare(c, format)
	}
	panic("ledger: a command that nothing executes: " + in.op().String())
}

// advance moves log time on to the stamp's and puts what it is now into the stamp. Behind it, log time stands still. A
// clock that jumps too far is refused, for once believed it could not be taken back: grants would have expired and keys
// be forgotten.
func (m *Machine) advance(at *Stamp) error {
	w := &m.work
	if at.Wall.Before(time.Unix(0, 1)) || at.Wall.After(time.Unix(0, math.MaxInt64)) {
		return fmt.Errorf("%w: %s", ErrClock, at.Wall)
	}
	ahead := time.Duration(at.Wall.UnixNano() - w.now)
	if w.now != 0 && ahead > m.config.Jump {
		return fmt.Errorf("%w: %s ahead of the log", ErrClock, ahead)
	}
	w.now, w.elapsed = max(w.now, at.Wall.UnixNano()), max(w.elapsed, at.Elapsed)
	w.term, w.index = at.Term, at.Index
	*at = w.stamp()
	return nil
}

// forget drops some of what counts no more.
func (m *Machine) forget() {
	hour := m.work.hour()
	end, ok := m.ended.first()
	if !m.keys.due(hour) && (!ok || !forgotten(end.hour, hour)) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys.drop(hour, dropsMax)
	for n := 0; ok && n < dropsMax && forgotten(end.hour, hour); end, ok = m.ended.first() {
		m.ended.pop()
		var h hold
		c := reader(m.holds.at(end.slot))
		if h.wire(&c); c.end() == nil && h.endedSeq == end.seq {
			m.holds.remove(end.slot, h.id)
			m.lent.forget(&h)
			n++
		}
	}
}

// once runs an intent, unless its key was used before.
func (m *Machine) once(at Stamp, in intent, format uint8, b []byte) ([]byte, error) {
	key := in.key()
	if err := checkAge(key, m.work.now); err != nil {
		return nil, err
	}
	sum := digestOf(b)
	r, known := m.keys.find(key, m.work.hour())
	if known && !r.barred() {
		return m.again(at, r, in, sum)
	}
	if m.keys.count+keysPerTurn > m.config.Keys {
		return nil, fmt.Errorf("%w: %d keys remembered, ledger.Config.Keys is %d", ErrFull, m.keys.count, m.config.Keys)
	}
	var payer string
	var err error
	if !known || in.op() == opDebit {
		if payer, err = in.payer(m); err != nil {
			return nil, err
		}
	}
	if known && (in.op() != opDebit || payer != r.account) {
		return nil, fmt.Errorf("%w: key %q is barred by the return of a debit of account %q", ErrConflict, key, r.account)
	}
	t := m.begin(at)
	if payer != "" {
		if t, err = m.bringUp(at, payer); err != nil {
			return nil, err
		}
	}
	receipt := Receipt{}
	if known { // a debit whose return came first
		receipt = t.receipt()
		receipt.Outcome = Returned
	} else if receipt, err = in.run(t); err != nil {
		return nil, err
	}
	n := record{key: key, op: in.op(), account: receipt.Account, intent: sum, reply: m.answer(format, &receipt)}
	if m.work.format >= wireSecond {
		n.attempts = 1
	}
	t.keys = append(t.keys, n)
	return []byte(n.reply), t.commit()
}

// exchange runs what a home says about an allowance.
func (m *Machine) exchange(at Stamp, in exchange, format uint8) ([]byte, error) {
	payer, err := in.payer(m)
	if err != nil {
		return nil, err
	}
	t := m.begin(at)
	if payer != "" {
		if t, err = m.bringUp(at, payer); err != nil {
			return nil, err
		}
	}
	receipt, err := in.run(t)
	if err != nil {
		return nil, err
	}
	reply := []byte(m.answer(format, &receipt))
	if receipt.Replayed {
		reply = replay(string(reply), 0)
	}
	return reply, t.commit()
}

// answer encodes a receipt.
func (m *Machine) answer(format uint8, r *Receipt) string {
	c, what := &m.out, uint8(repliesReceipt)
	c.b = c.b[:0]
	c.version(format)
	c.byte(&what)
	r.wire(c)
	return string(c.b)
}

// again answers a key that was used before, and counts that.
func (m *Machine) again(at Stamp, r record, in intent, sum digest) ([]byte, error) {
	same := r.op == in.op() && (r.intent == sum || r.ofItem(in))
	if !same && r.op == in.op() {
		first, ok := firstDigest(in)
		same = ok && r.intent == first
	}
	if !same {
		return nil, fmt.Errorf("%w: key %q was used for another %s", ErrConflict, in.key(), r.op)
	}
	if r.attempts > 0 {
		r.attempts++
		t := m.begin(at)
		t.keys = append(t.keys, r)
		if err := t.commit(); err != nil {
			return nil, err
		}
	}
	return replay(r.reply, r.attempts), nil
}

// bar remembers a debit's key, so that it charges nothing when it comes after all.
func (t *tx) bar(key, account string) {
	t.keys = append(t.keys, record{key: key, op: opDebit, account: account})
}

func noAccount(id string) error { return fmt.Errorf("%w: %q", ErrNoAccount, id) }

// Accounts returns how many accounts there are.
func (m *Machine) Accounts() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.accounts.count
}

// Keys returns how many idempotency keys are remembered.
func (m *Machine) Keys() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.keys.count
}

// Holds returns how many holds are open, and how many are remembered in all.
func (m *Machine) Holds() (open, all int) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.due.count - m.lent.open, m.holds.count - m.lent.all
}

// Allowances returns how many allowances are open, and how many are remembered in all.
func (m *Machine) Allowances() (open, all int) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.lent.open, m.lent.all
}

// Events returns the seq of the last event, and the hash over all events up to it.
func (m *Machine) Events() (seq uint64, chain [32]byte) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.head.seq, m.head.chain
}

// Digest returns the hash of the whole state, in constant time.
func (m *Machine) Digest() [32]byte {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.digest()
}

func (m *Machine) digest() [32]byte {
	return stateDigest(&m.head, &sums{m.accounts.sum, m.holds.sum, m.keys.sum, m.cursed})
}
