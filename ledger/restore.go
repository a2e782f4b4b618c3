package ledger

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"slices"
)

// Restore replaces the whole state by the one that was written to r, which must end where the snapshot ends. It checks the
// sum and every invariant that Apply relies on. On an error (ErrCorrupt, ErrNewer, or that of r) the state is as before.
func (m *Machine) Restore(r io.Reader) error {
	n := NewMachine(m.config)
	if err := n.restore(r); err != nil {
		return fmt.Errorf("restore ledger: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.head, m.accounts, m.holds, m.keys, m.cursors, m.cursed = n.head, n.accounts, n.holds, n.keys, n.cursors, n.cursed
	m.due, m.ended, m.lent, m.notes, m.broken = n.due, n.ended, n.lent, notes{}, nil
	return nil
}

func (m *Machine) restore(r io.Reader) error {
	f := frameReader{in: bufio.NewReaderSize(r, 1<<16), sum: sha256.New()}
	head := make([]byte, len(snapshotMagic)+1)
	if _, err := io.ReadFull(f.in, head); err != nil {
		return damage(err)
	}
	f.sum.Write(head)
	version := head[len(snapshotMagic)]
	if string(head[:len(snapshotMagic)]) != snapshotMagic || version == 0 {
		return fmt.Errorf("%w: not a ledger snapshot", ErrCorrupt)
	}
	if version > snapshotNewest {
		return fmt.Errorf("%w: snapshot version %d, this is %d", ErrNewer, version, snapshotNewest)
	}
	f.format = version
	read := m.readState
	if version == 1 {
		read = m.readFirst
	}
	if err := read(&f); err != nil {
		return damage(err)
	}
	sum := make([]byte, sha256.Size)
	if _, err := io.ReadFull(f.in, sum); err != nil {
		return damage(err)
	}
	if !bytes.Equal(sum, f.sum.Sum(nil)) {
		return fmt.Errorf("%w: checksum differs", ErrCorrupt)
	}
	switch _, err := f.in.ReadByte(); {
	case err == nil:
		return damage(errTrailing)
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// damage tells a snapshot that is broken from a reader that is.
func damage(err error) error {
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, errShort, errTrailing, errCanonical, errRange, errBroken} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	}
	return err
}

// frameReader reads frames, and hashes them on the way.
type frameReader struct {
	in   *bufio.Reader
	sum  hash.Hash
	body bytes.Buffer

	format uint8 // of the snapshot
}

func (f *frameReader) next() (string, error) {
	var length [4]byte
	if _, err := io.ReadFull(f.in, length[:]); err != nil {
		return "", err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > frameMax {
		return "", errRange
	}
	f.body.Reset()
	if _, err := io.CopyN(&f.body, f.in, int64(n)); err != nil {
		return "", err
	}
	f.sum.Write(length[:])
	f.sum.Write(f.body.Bytes())
	return f.body.String(), nil
}

// frame reads a frame into a shape, and returns its text too.
func (f *frameReader) frame(body func(*coder)) (string, error) {
	text, err := f.next()
	if err != nil {
		return "", err
	}
	c := reader(text)
	c.format = f.format
	body(&c)
	return text, c.end()
}

func (m *Machine) readState(f *frameReader) error {
	var claimed, read sums // read are those of the records as they were written
	var accounts, holds, generations uint64
	var cursors []Cursor
	_, err := f.frame(func(c *coder) {
		m.head.wire(c)
		claimed.wire(c)
		c.uint(&accounts)
		c.uint(&holds)
		c.uint(&generations)
		list(c, &cursors, math.MaxInt32, (*Cursor).wire)
	})
	m.work = m.head
	for _, u := range cursors {
		if _, twice := m.cursors[u.Name]; twice || u.Name == "" || u.Seq > m.head.seq {
			return fmt.Errorf("%w: cursor %q", errBroken, u.Name)
		}
		m.putCursor(u)
	}
	for i := uint64(0); i < accounts && err == nil; i++ {
		var a account
		var text string
		if text, err = f.frame(a.wire); err == nil {
			read.accounts.add(sumAccounts, text)
			err = m.adopt(&a)
		}
	}
	if err == nil {
		err = m.readHolds(f, holds, &read.holds)
	}
	for i := uint64(0); i < generations && err == nil; i++ {
		err = m.readGeneration(f, (*record).wire)
	}
	read.keys, read.cursors = m.keys.sum, m.cursed
	if err == nil && claimed != read {
		return fmt.Errorf("%w: its records are not those that its sums are of", errBroken)
	}
	return err
}

// adopt takes in an account that was read, if it is one that Apply could have made.
func (m *Machine) adopt(a *account) error {
	if _, twice := m.accounts.find(a.id); twice || a.id == "" || a.overdraft < 0 || a.overdraft > CreditsMax || a.last > m.head.seq {
		return fmt.Errorf("%w: account %q", errBroken, a.id)
	}
	if err := a.audit(); err != nil {
		return fmt.Errorf("%w: account %q: %w", errBroken, a.id, err)
	}
	for i := range a.grants {
		g := &a.grants[i]
		if g.amount < 1 || g.created > a.seq || a.grant(g.id) != g || (i > 0 && burnOrder(a.grants[i-1], *g) >= 0) {
			return fmt.Errorf("%w: account %q: grant %q", errBroken, a.id, g.id)
		}
	}
	for i := range a.series {
		s := &a.series[i]
		if s.amount < 1 || s.every == Once || s.next < s.anchor || s.ends <= s.anchor {
			return fmt.Errorf("%w: account %q: recurring grant %q", errBroken, a.id, s.id)
		}
		if _, err := zoneOf(s.zone); err != nil {
			return err
		}
	}
	m.accounts.add(a.id, m.encode(a.wire))
	return nil
}

// held is what the holds and allowances of an account make up together.
type held struct {
	open, lending uint64
	grants, lent  map[string]Credits
}

func (m *Machine) readHolds(f *frameReader, n uint64, read *sum) error {
	payers := map[uint32]*held{}
	for range n {
		var h hold
		text, err := f.frame(h.wire)
		if err != nil {
			return err
		}
		read.add(sumHolds, text)
		if err := m.adoptHold(&h, payers); err != nil {
			return err
		}
	}
	slices.SortFunc(m.ended.all, func(a, b ending) int { return cmp.Compare(a.seq, b.seq) })
	for slot := range uint32(m.accounts.size) {
		var a account
		if err := a.read(m.accounts.at(slot)); err != nil {
			return err
		}
		p := payers[slot]
		if p == nil {
			p = &held{}
		}
		ok := a.open == p.open && a.lending == p.lending
		for _, g := range a.grants {
			ok = ok && g.held == p.grants[g.id] && g.lent == p.lent[g.id]
		}
		if !ok {
			return fmt.Errorf("%w: account %q has other holds than are there", errBroken, a.id)
		}
	}
	return nil
}

func (m *Machine) adoptHold(h *hold, payers map[uint32]*held) error {
	payer, known := m.accounts.find(h.account)
	if _, twice := m.holds.find(h.id); twice || h.id == "" || !h.named() || h.over() || !h.sound() || (h.account != "") != known || h.endedSeq > m.head.seq ||
		(h.loan != nil && h.loan.id > m.head.seq) {
		return fmt.Errorf("%w: hold %q", errBroken, h.id)
	}
	slot := m.holds.add(h.id, m.encode(h.wire))
	m.lent.change(h, &hold{state: Refused}, true)
	if h.state != Open {
		m.ended.add(ending{h.endedSeq, h.ended, slot})
		return nil
	}
	m.due.add(payer, deadline{h.deadline, h.id})
	p := payers[payer]
	if p == nil {
		p = &held{grants: map[string]Credits{}, lent: map[string]Credits{}}
		payers[payer] = p
	}
	count, grants := &p.open, p.grants
	if h.loan != nil {
		count, grants = &p.lending, p.lent
	}
	*count++
	for _, k := range h.takes {
		grants[k.grant] += k.held
	}
	return nil
}

func (m *Machine) readGeneration(f *frameReader, wire func(*record, *coder)) error {
	var hour int64
	var n uint64
	if _, err := f.frame(func(c *coder) { c.int(&hour); c.uint(&n) }); err != nil {
		return err
	}
	if last := len(m.keys.generations) - 1; (last >= 0 && m.keys.generations[last].hour >= hour) || hour < 0 || hour > hourOf(never) || n == 0 {
		return fmt.Errorf("%w: hour %d of keys is empty or out of order", errBroken, hour)
	}
	for range n {
		var r record
		if _, err := f.frame(func(c *coder) { wire(&r, c) }); err != nil {
			return err
		}
		if err := m.checkRecord(&r, hour); err != nil {
			return err
		}
		m.keys.add(hour, m.encode(r.wire))
	}
	return nil
}

// checkRecord checks a key's record that was read, with the accounts at hand: above all that what can still be returned
// has where to go.
func (m *Machine) checkRecord(r *record, hour int64) error {
	bad := fmt.Errorf("%w: key %q", errBroken, r.key)
	slot, known := m.accounts.find(r.account)
	if _, isIntent := blank(r.op).(intent); r.key == "" || !isIntent || known != (r.account != "") {
		return bad
	}
	if r.barred() {
		if r.op != opDebit || r.returned != 0 {
			return bad
		}
		return nil
	}
	receipt, err := decodeReceipt(r.reply)
	if err != nil || receipt.Replayed || r.returned < 0 || r.returned > max(receipt.Amount, 0) || (r.returned > 0 && r.op != opDebit) {
		return bad
	}
	if r.op != opDebit || forgotten(hour, m.head.hour()) {
		return nil
	}
	var a account
	if err := a.read(m.accounts.at(slot)); err != nil {
		return err
	}
	if slices.ContainsFunc(unwind(receipt.Parts, r.returned, receipt.Amount-r.returned), func(p Part) bool {
		return p.Kind != Overdraft && a.grant(p.Grant) == nil
	}) {
		return bad
	}
	return nil
}
