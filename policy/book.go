package policy

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
)

// Versions that a Put may expect the cluster's policy to be at, besides a number.
const (
	AnyVersion int64 = -1 // whatever it is
	NoVersion  int64 = 0  // the cluster has no policy yet
)

const (
	putFormat      byte = 1
	replyFormat    byte = 1
	snapshotMagic       = "weir-policy\x01"
	putHeader           = 1 + 8
	replyLength         = 1 + 1 + 8
	snapshotHeader      = len(snapshotMagic) + 8 + 4
)

// The outcomes of a put command, as its reply carries them.
const (
	putDone byte = iota
	putConflict
	putMalformed
)

// Proposer has a command applied by every Book of the cluster, in the same order everywhere, and returns this
// command's reply. An error means that it was not applied, or that nobody knows.
type Proposer interface {
	Propose(ctx context.Context, command []byte) (reply []byte, err error)
}

// Put makes text the policy of the cluster if that is at version expect, and returns the new version. Text that
// does not parse is refused here, as Mistakes, and never proposed; name is what they call the file. A text equal to
// the current one changes nothing and returns its version, so a Put of unknown outcome is simply repeated. Returns
// ErrVersionConflict, or what p returned.
func Put(ctx context.Context, p Proposer, name string, text []byte, expect int64) (uint64, error) {
	if _, err := Parse(name, text); err != nil {
		return 0, err
	}
	if expect < AnyVersion {
		return 0, invalid("expected version %d is not a version", expect)
	}
	reply, err := p.Propose(ctx, encodePut(text, expect))
	if err != nil {
		return 0, fmt.Errorf("propose policy %s: %w", name, err)
	}
	version, err := decodeReply(reply)
	if err != nil {
		return version, fmt.Errorf("put policy %s: %w", name, err)
	}
	return version, nil
}

// Book holds the policy that the cluster agreed on, on one node. It is a machine of the Raft group, which calls
// Apply, Snapshot and Restore from one goroutine; everything else may be called from anywhere.
//
// What is agreed is the document and its number: whether a put is accepted depends on nothing that a newer release
// could judge differently, nor on what this node learnt ahead of its log. Compiling is each node's own affair. A node
// that cannot compile what was agreed keeps deciding under its last policy, logs an error, and returns it from Err
// until a later document compiles.
type Book struct {
	log     *slog.Logger
	current atomic.Pointer[Policy]
	applied document // as of the log; only the machine's goroutine touches it

	mu    sync.Mutex // guards what follows
	known document   // the newest applied or learnt
	err   error      // why known does not compile here
}

// document is a policy as it was written, and its number. The text is replaced whole, never written to.
type document struct {
	version uint64
	text    []byte
}

// NewBook returns an empty Book. It logs to log, or nowhere when that is nil.
func NewBook(log *slog.Logger) *Book {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Book{log: log}
}

// Current returns the newest agreed policy that this node could compile; nil before the first.
func (b *Book) Current() *Policy { return b.current.Load() }

// Document returns the agreed document and its version, whether or not it compiles here; 0 before the first.
// The text must not be changed.
func (b *Book) Document() (version uint64, text []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.known.version, b.known.text
}

// Err returns why the agreed document does not compile on this node; nil when it does. A node with an error decides
// under an older policy than the others.
func (b *Book) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// Apply carries out one command of the log. It never fails: a command that is malformed gets a reply that says so.
func (b *Book) Apply(command []byte) []byte {
	text, expect, ok := decodePut(command)
	last := b.applied
	switch {
	case !ok:
		return encodeReply(putMalformed, last.version)
	case last.version > 0 && bytes.Equal(text, last.text):
		return encodeReply(putDone, last.version)
	case expect != AnyVersion && uint64(expect) != last.version:
		return encodeReply(putConflict, last.version)
	}
	b.applied = document{last.version + 1, bytes.Clone(text)}
	b.adopt(b.applied)
	return encodeReply(putDone, b.applied.version)
}

// Learn adopts a document that another node of the cluster says was agreed; for nodes that are not in the Raft
// group. An older version than the one at hand is ignored. Returns an error when text does not compile here.
func (b *Book) Learn(version uint64, text []byte) error {
	if have, _ := b.Document(); version <= have {
		return nil
	}
	if len(text) > TextMax {
		return fmt.Errorf("learn policy version %d: %w: %d bytes, at most %d", version, ErrInvalid, len(text), TextMax)
	}
	b.adopt(document{version, bytes.Clone(text)})
	if err := b.Err(); err != nil {
		return fmt.Errorf("learn policy version %d: %w", version, err)
	}
	return nil
}

// adopt makes d what is known, unless something newer is.
func (b *Book) adopt(d document) {
	p, err := Parse("policy", d.text)
	b.mu.Lock()
	if d.version <= b.known.version {
		b.mu.Unlock()
		return
	}
	b.known, b.err = d, err
	if err == nil {
		b.current.Store(p.WithVersion(d.version))
	}
	b.mu.Unlock()
	if err != nil {
		b.log.Error("the agreed policy does not compile on this node, which goes on under its last one; is it older than the others?",
			"version", d.version, "error", err)
	}
}

// Snapshot captures the document; the returned function writes it and may run later, beside Apply.
func (b *Book) Snapshot() (func(io.Writer) error, error) {
	d := b.applied
	return func(w io.Writer) error {
		head := append([]byte(snapshotMagic), make([]byte, 12)...)
		binary.BigEndian.PutUint64(head[len(snapshotMagic):], d.version)
		binary.BigEndian.PutUint32(head[len(snapshotMagic)+8:], uint32(len(d.text)))
		if _, err := w.Write(append(head, d.text...)); err != nil {
			return fmt.Errorf("write policy snapshot: %w", err)
		}
		return nil
	}, nil
}

// Restore replaces what the log applied by what a Snapshot wrote; what was learnt and is newer stays known. On an
// error nothing changed.
func (b *Book) Restore(r io.Reader) error {
	head := make([]byte, snapshotHeader)
	if _, err := io.ReadFull(r, head); err != nil {
		return fmt.Errorf("read policy snapshot header: %w", err)
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return errors.New("read policy snapshot: it is not one, or of a newer format than this release knows")
	}
	version := binary.BigEndian.Uint64(head[len(snapshotMagic):])
	size := binary.BigEndian.Uint32(head[len(snapshotMagic)+8:])
	if size > TextMax || (version == 0) != (size == 0) {
		return fmt.Errorf("read policy snapshot: version %d with %d bytes cannot be", version, size)
	}
	text, err := io.ReadAll(io.LimitReader(r, int64(size)+1))
	if err != nil {
		return fmt.Errorf("read policy snapshot: %w", err)
	}
	if len(text) != int(size) {
		return fmt.Errorf("read policy snapshot: %d bytes where %d were announced", len(text), size)
	}
	b.applied = document{version, text}
	b.adopt(b.applied)
	return nil
}

func encodePut(text []byte, expect int64) []byte {
	c := make([]byte, putHeader, putHeader+len(text))
	c[0] = putFormat
	binary.BigEndian.PutUint64(c[1:], uint64(expect))
	return append(c, text...)
}

func decodePut(c []byte) (text []byte, expect int64, ok bool) {
	if len(c) <= putHeader || len(c) > putHeader+TextMax || c[0] != putFormat {
		return nil, 0, false
	}
	expect = int64(binary.BigEndian.Uint64(c[1:]))
	return c[putHeader:], expect, expect >= AnyVersion
}

func encodeReply(outcome byte, version uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{replyFormat, outcome}, version)
}

func decodeReply(r []byte) (uint64, error) {
	if len(r) != replyLength || r[0] != replyFormat {
		return 0, fmt.Errorf("reply of %d bytes is of a format that this release does not know", len(r))
	}
	version := binary.BigEndian.Uint64(r[2:])
	switch r[1] {
	case putDone:
		return version, nil
	case putConflict:
		return version, fmt.Errorf("%w: it is at %d", ErrVersionConflict, version)
	default:
		return version, fmt.Errorf("%w policy command", ErrInvalid)
	}
}
