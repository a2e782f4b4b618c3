package ledger

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
)

// A snapshot is the magic, a version byte, frames of a length (4 bytes, big endian) and a body each, and the SHA-256 of all of that,
// which is also the digest of the state. The first frame counts the others. Equal states are equal bytes.
const (
	snapshotMagic = "weir ledger\n"
	frameMax      = 1 << 28 // a length beyond is damage; memory follows what is really there
)

// image is a state that does not change any more.
type image struct {
	now         int64
	accounts    []*account
	generations []generation
}

// Snapshot captures the state and returns a func that writes it, once or often, from any goroutine, while Apply
// goes on. Capturing copies a pointer per account and key; the first change of each after that copies it.
func (m *Machine) Snapshot() (func(io.Writer) error, error) {
	im := image{now: m.now, accounts: slices.Clone(m.accounts), generations: slices.Clone(m.keys.generations)}
	for i := range im.generations {
		im.generations[i].records = slices.Clone(im.generations[i].records)
	}
	m.epoch++
	return func(w io.Writer) error {
		if err := im.write(w); err != nil {
			return fmt.Errorf("write ledger snapshot: %w", err)
		}
		return nil
	}, nil
}

// Digest returns the hash of the whole state. It encodes all of it: some 0.2 s for 100,000 accounts and 400,000 keys.
func (m *Machine) Digest() [32]byte {
	f := frames{sum: sha256.New(), out: io.Discard}
	if err := (image{m.now, m.accounts, m.keys.generations}).writeTo(&f); err != nil {
		panic(fmt.Sprintf("ledger: digest: %v", err))
	}
	return [32]byte(f.sum.Sum(nil))
}

func (im image) write(w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<16)
	f := frames{sum: sha256.New(), out: out}
	if err := im.writeTo(&f); err != nil {
		return err
	}
	if _, err := out.Write(f.sum.Sum(nil)); err != nil {
		return err
	}
	return out.Flush()
}

func (im image) writeTo(f *frames) error {
	f.write(append([]byte(snapshotMagic), snapshotNewest))
	n, g := uint64(len(im.accounts)), uint64(len(im.generations))
	f.frame(func(c *coder) { wireHead(c, &im.now, &n, &g) })
	for _, a := range im.accounts {
		f.frame(a.wire)
	}
	for _, g := range im.generations {
		n := uint64(len(g.records))
		f.frame(func(c *coder) { c.int(&g.hour); c.uint(&n) })
		for _, r := range g.records {
			f.frame(r.wire)
		}
	}
	return f.err
}

func wireHead(c *coder, now *int64, accounts, generations *uint64) {
	c.int(now)
	c.uint(accounts)
	c.uint(generations)
}

// frames writes or reads frames, and hashes them on the way.
type frames struct {
	sum  hash.Hash
	out  io.Writer
	in   *bufio.Reader
	c    coder
	body bytes.Buffer
	err  error // the first; after it nothing is done
}

func (f *frames) write(b []byte) {
	if f.err == nil {
		f.sum.Write(b)
		_, f.err = f.out.Write(b)
	}
}

// frame writes one frame, or reads the next one if there is an in.
func (f *frames) frame(body func(*coder)) {
	if f.in != nil {
		f.read(body)
		return
	}
	f.c.b = f.c.b[:0]
	body(&f.c)
	if len(f.c.b) > frameMax && f.err == nil {
		f.err = fmt.Errorf("frame of %d bytes is too large", len(f.c.b))
	}
	f.write(binary.BigEndian.AppendUint32(nil, uint32(len(f.c.b))))
	f.write(f.c.b)
}

func (f *frames) read(body func(*coder)) {
	if f.err != nil {
		return
	}
	in := io.TeeReader(f.in, f.sum)
	var length [4]byte
	if _, f.err = io.ReadFull(in, length[:]); f.err != nil {
		return
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > frameMax {
		f.err = errRange
		return
	}
	f.body.Reset()
	if _, f.err = io.CopyN(&f.body, in, int64(n)); f.err != nil {
		return
	}
	c := coder{b: f.body.Bytes(), reading: true}
	body(&c)
	f.err = c.end()
}

// Restore replaces the whole state by the one that was written to r, which must end where the snapshot ends.
// On an error (ErrCorrupt, ErrNewer, or that of r) the state is as before.
func (m *Machine) Restore(r io.Reader) error {
	n := NewMachine(m.config)
	if err := n.restore(r); err != nil {
		return fmt.Errorf("restore ledger: %w", err)
	}
	m.now, m.accounts, m.byID, m.keys, m.epoch, m.touched = n.now, n.accounts, n.byID, n.keys, n.epoch, nil
	m.accountCount.Store(int64(len(m.accounts)))
	m.keyCount.Store(int64(m.keys.count))
	return nil
}

func (m *Machine) restore(r io.Reader) error {
	f := frames{sum: sha256.New(), in: bufio.NewReaderSize(r, 1<<16)}
	head := make([]byte, len(snapshotMagic)+1)
	if _, err := io.ReadFull(f.in, head); err != nil {
		return damage(err)
	}
	f.sum.Write(head)
	if version := head[len(snapshotMagic)]; string(head[:len(snapshotMagic)]) != snapshotMagic || version == 0 {
		return fmt.Errorf("%w: not a ledger snapshot", ErrCorrupt)
	} else if version > snapshotNewest {
		return fmt.Errorf("%w: snapshot version %d, this is %d", ErrNewer, version, snapshotNewest)
	}
	if err := m.readFrom(&f); err != nil {
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

func (m *Machine) readFrom(f *frames) error {
	var accounts, generations uint64
	f.frame(func(c *coder) { wireHead(c, &m.now, &accounts, &generations) })
	for i := uint64(0); i < accounts && f.err == nil; i++ {
		a := &account{at: len(m.accounts)}
		f.frame(a.wire)
		if f.err == nil {
			f.err = m.adopt(a)
		}
	}
	for i := uint64(0); i < generations && f.err == nil; i++ {
		f.err = m.readGeneration(f)
	}
	return f.err
}

func (m *Machine) readGeneration(f *frames) error {
	g := generation{}
	var n uint64
	f.frame(func(c *coder) { c.int(&g.hour); c.uint(&n) })
	if last := len(m.keys.generations) - 1; f.err == nil && last >= 0 && m.keys.generations[last].hour >= g.hour {
		return fmt.Errorf("%w: hours out of order", errBroken)
	}
	m.keys.generations = append(m.keys.generations, g)
	for i := uint64(0); i < n && f.err == nil; i++ {
		r := &record{hour: g.hour}
		f.frame(r.wire)
		if f.err == nil {
			f.err = m.checkRecord(r)
		}
		m.keys.add(r)
	}
	return f.err
}
