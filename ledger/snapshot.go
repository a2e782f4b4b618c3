package ledger

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"math"
)

// A snapshot is the magic, a version byte, frames of a length (4 bytes, big endian) and a body each, and the SHA-256 of all of
// that. The first frame is the head, with the sums of all records and how many frames follow; each record is a frame.
const (
	snapshotMagic  = "weir ledger\n"
	snapshotThird  = 3 // allowances
	snapshotNewest = snapshotThird
	frameMax       = 1 << 28 // a length beyond is damage; memory follows what is really there
)

// image is a state that does not change any more.
type image struct {
	head        head
	sums        sums
	accounts    pages
	holds       pages
	accountsLen uint64
	holdsLen    uint64
	generations []generation
	cursors     []Cursor
}

// Snapshot captures the state and returns a func that writes it, once or often, from any goroutine, while Apply
// goes on. Capturing copies a pointer for each 256 records. Before that it waits until the journal is safe on its
// disk: what a snapshot has may be dropped from the log.
func (m *Machine) Snapshot() (func(io.Writer) error, error) {
	if m.config.Journal != nil {
		if err := m.config.Journal.Sync(); err != nil {
			return nil, fmt.Errorf("sync the ledger's journal: %w", err)
		}
	}
	im := m.freeze()
	return func(w io.Writer) error {
		if err := im.write(w); err != nil {
			return fmt.Errorf("write ledger snapshot: %w", err)
		}
		return nil
	}, nil
}

// freeze captures the state.
func (m *Machine) freeze() *image {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &image{
		head: m.head, sums: sums{m.accounts.sum, m.holds.sum, m.keys.sum, m.cursed},
		accounts: m.accounts.freeze(), holds: m.holds.freeze(), accountsLen: uint64(m.accounts.count), holdsLen: uint64(m.holds.count),
		generations: m.keys.freeze(), cursors: m.cursorList(),
	}
}

func (im *image) write(out io.Writer) error {
	f := frameWriter{sum: sha256.New()}
	f.w = bufio.NewWriterSize(io.MultiWriter(out, f.sum), 1<<16)
	f.text(snapshotMagic + string([]byte{snapshotNewest}))
	f.frame(func(c *coder) {
		im.head.wire(c)
		im.sums.wire(c)
		c.uint(&im.accountsLen)
		c.uint(&im.holdsLen)
		generations := uint64(len(im.generations))
		c.uint(&generations)
		list(c, &im.cursors, math.MaxInt32, (*Cursor).wire)
	})
	im.accounts.each(f.record)
	im.holds.each(f.record)
	for i := range im.generations {
		g := &im.generations[i]
		n := uint64(g.records.size)
		f.frame(func(c *coder) { c.int(&g.hour); c.uint(&n) })
		g.records.each(f.record)
	}
	if f.err == nil {
		f.err = f.w.Flush()
	}
	if f.err != nil {
		return f.err
	}
	_, err := out.Write(f.sum.Sum(nil))
	return err
}

// frameWriter writes frames, and hashes them on the way. After its first error it writes no more.
type frameWriter struct {
	w      *bufio.Writer
	sum    hash.Hash
	c      coder
	length [4]byte
	err    error
}

func (f *frameWriter) text(s string) {
	if f.err == nil {
		_, f.err = f.w.WriteString(s)
	}
}

// record writes a frame and says whether to go on.
func (f *frameWriter) record(body string) bool {
	binary.BigEndian.PutUint32(f.length[:], uint32(len(body)))
	if f.err == nil {
		_, f.err = f.w.Write(f.length[:])
	}
	f.text(body)
	return f.err == nil
}

func (f *frameWriter) frame(body func(*coder)) {
	f.c.b = f.c.b[:0]
	body(&f.c)
	f.record(string(f.c.b))
}
