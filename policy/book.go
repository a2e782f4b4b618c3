package policy

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Book holds what the cluster agreed on about its policy, on one node: the document in force and those before it, and
// beside it the overrides, blocks and resets of single accounts. Every change has a revision; documents alone also
// have a version. It is a machine of the Raft group, which calls Apply, Snapshot and Restore from one goroutine;
// everything else may be called from anywhere.
//
// Whether a command is accepted depends on the log alone: on nothing that a newer release could judge differently, nor
// on what this node learnt ahead of its log. Compiling is each node's own affair, which Run does apart from the log and
// from decisions. A node that cannot compile the document in force keeps deciding under its last policy, logs an error,
// and returns it from Err until a later document compiles.
type Book struct {
	log     *slog.Logger
	current atomic.Pointer[Policy]
	parsed  atomic.Pointer[Policy] // what Put parsed here last, which compile need not parse again
	applied agreed                 // as of the log; only the machine's goroutine touches it
	wake    chan struct{}          // capacity 1, for Run
	changed chan struct{}          // capacity 1, for the reader of Changed

	mu     sync.Mutex    // guards what follows
	known  agreed        // the newest applied or learnt
	made   reached       // what current was made of
	err    error         // why the document of made does not compile here
	remade chan struct{} // closed and replaced when made changes
}

// NewBook returns an empty Book, which compiles nothing before Run. It logs to log, or nowhere when that is nil.
func NewBook(log *slog.Logger) *Book {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Book{log: log, wake: make(chan struct{}, 1), changed: make(chan struct{}, 1), remade: make(chan struct{})}
}

// Run compiles what is agreed, and puts it in force on this node, until ctx ends.
func (b *Book) Run(ctx context.Context) error {
	for {
		select {
		case <-b.wake:
			b.compile()
		case <-ctx.Done():
			return nil
		}
	}
}

// Current returns the newest agreed policy that this node could compile, with what holds beside it; nil before the
// first. It is one value: who decides a request loads it once.
func (b *Book) Current() *Policy { return b.current.Load() }

// Document returns the document in force and its version, whether or not it compiles here; 0 before the first.
// The text must not be changed.
func (b *Book) Document() (version uint64, text []byte) {
	known := b.agreed()
	v := known.current()
	return v.number, v.text
}

// Revision returns how many changes this node knows to be agreed, and the version of the policy among them.
func (b *Book) Revision() (revision, version uint64) {
	known := b.agreed()
	return known.revision, known.current().number
}

// agreed returns the newest that this node knows.
func (b *Book) agreed() agreed {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.known
}

// Changed signals that the revision has grown. It is for one reader.
func (b *Book) Changed() <-chan struct{} { return b.changed }

// Err returns why the document in force does not compile on this node; nil when it does. A node with an error decides
// under an older policy than the others.
func (b *Book) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// Apply carries out one command of the log, at log time. It never fails: a command that is malformed gets a reply that
// says so.
func (b *Book) Apply(at time.Time, command []byte) []byte {
	x, ok := decodeCommand(command)
	if !ok {
		return outcomeMalformed.encode(&b.applied)
	}
	next, o := b.applied.after(at, x)
	b.applied = next
	b.adopt(next)
	return o.encode(&b.applied)
}

// adopt makes a what is known, unless something newer is.
func (b *Book) adopt(a agreed) {
	b.mu.Lock()
	newer := a.revision > b.known.revision
	if newer {
		b.known = a
	}
	b.mu.Unlock()
	if newer {
		b.tell()
	}
}

// tell wakes those who wait for a change.
func (b *Book) tell() {
	for _, c := range []chan struct{}{b.wake, b.changed} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// compile puts what is known in force. It is called by Run alone, and decisions never wait for it.
func (b *Book) compile() {
	b.mu.Lock()
	a, made, err := b.known, b.made, b.err
	b.mu.Unlock()
	p := b.current.Load()
	if v := a.current(); v.number > made.version {
		parsed := b.parsed.Swap(nil)
		if err = nil; parsed == nil || parsed.text != string(v.text) {
			parsed, err = Parse("policy", v.text)
		}
		if err == nil {
			p = parsed.WithVersion(v.number)
		} else {
			b.log.Error("the agreed policy does not compile on this node, which goes on under its last one; is it older than the others?",
				"version", v.number, "error", err)
		}
	}
	if p != nil {
		p = p.beside(&a)
	}
	b.mu.Lock()
	b.made, b.err = reached{a.revision, a.current().number}, err
	b.current.Store(p)
	close(b.remade)
	b.remade = make(chan struct{})
	b.mu.Unlock()
}

// await waits until this node decides by what was agreed at a revision, or for ctx.
func (b *Book) await(ctx context.Context, revision uint64) {
	for {
		b.mu.Lock()
		done, remade := b.made.revision >= revision, b.remade
		b.mu.Unlock()
		if done {
			return
		}
		select {
		case <-remade:
		case <-ctx.Done():
			return
		}
	}
}

// Learn adopts what State returned on another node of the cluster; for nodes that are not in the Raft group. What is
// older than the state at hand is ignored.
func (b *Book) Learn(state []byte) error {
	a, s, err := decodeState(state)
	if err != nil {
		return fmt.Errorf("learn policy state: %w", err)
	}
	have := b.agreed()
	if a.revision <= have.revision {
		return nil
	}
	if err := a.fill(&have, s); err != nil {
		return fmt.Errorf("learn policy state: %w", err)
	}
	b.adopt(a)
	return nil
}
