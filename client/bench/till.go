package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

const (
	couriers       = 4      // streams that single debits share
	operationsMax  = 256    // in one message
	bookedAccounts = 10_000 // that are debited in turn
	bookedMicros   = 1e12   // that each is given
)

// till debits accounts of one node's ledger by Apply: in messages of many from each caller, on a stream of its own, or one by
// one on streams that all callers share. Every debit has a key of its own.
type till struct {
	stub    weirv1.LedgerServiceClient
	prefix  string // of keys and accounts, of this run alone
	batch   int
	number  atomic.Uint64
	letters []*courier // for single debits
	stop    func()
}

// openTill opens the accounts and gives each more than it will be debited. The till must be stopped.
func openTill(ctx context.Context, to *grpc.ClientConn, batch int) (*till, error) {
	b := &till{stub: weirv1.NewLedgerServiceClient(to), prefix: rand.Text()[:8], batch: batch}
	s, err := b.stub.Apply(ctx)
	if err != nil {
		return nil, fmt.Errorf("open the stream: %w", err)
	}
	for _, write := range []func(i int) *weirv1.Operation{b.open, b.grant} {
		for at := 0; at < bookedAccounts; at += operationsMax {
			m := &weirv1.ApplyRequest{}
			for i := at; i < min(at+operationsMax, bookedAccounts); i++ {
				m.Operations = append(m.Operations, write(i))
			}
			var t tally
			if err := exchange(s, m, &t); err != nil {
				return nil, fmt.Errorf("open accounts: %w", err)
			}
			if t.first != nil {
				return nil, fmt.Errorf("open accounts: %w", t.first)
			}
		}
	}
	if err := s.CloseSend(); err != nil {
		return nil, fmt.Errorf("close the stream: %w", err)
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var all sync.WaitGroup
	for range couriers {
		c := &courier{out: make(chan *weirv1.Operation, operationsMax), waits: make(map[uint64]chan<- *weirv1.Applied)}
		b.letters = append(b.letters, c)
		all.Go(func() { c.run(life, b.stub) })
	}
	b.stop = func() {
		cancel()
		all.Wait()
	}
	return b, nil
}

func (b *till) account(i int) string { return b.prefix + "-" + strconv.Itoa(i) }

func (b *till) open(i int) *weirv1.Operation {
	return &weirv1.Operation{Write: &weirv1.Operation_Open{Open: &weirv1.OpenAccountRequest{
		IdempotencyKey: "open-" + b.account(i), Account: b.account(i), UseCredits: true,
	}}}
}

func (b *till) grant(i int) *weirv1.Operation {
	return &weirv1.Operation{Write: &weirv1.Operation_Grant{Grant: &weirv1.GrantRequest{
		IdempotencyKey: "grant-" + b.account(i), Account: b.account(i), Kind: "credit", AmountMicros: bookedMicros,
	}}}
}

func (b *till) debit() *weirv1.Operation {
	n := b.number.Add(1)
	return &weirv1.Operation{Id: n, Write: &weirv1.Operation_Debit{Debit: &weirv1.DebitRequest{
		IdempotencyKey: b.prefix + "-debit-" + strconv.FormatUint(n, 10), Account: b.account(int(n % bookedAccounts)), AmountMicros: 1,
	}}}
}

func (b *till) caller(ctx context.Context, i int) (caller, error) {
	if b.batch == 1 {
		c := b.letters[i%len(b.letters)]
		return func(ctx context.Context, t *tally) error { return c.carry(ctx, b.debit(), t) }, nil
	}
	s, err := b.stub.Apply(ctx)
	if err != nil {
		return nil, err
	}
	return func(_ context.Context, t *tally) error {
		m := &weirv1.ApplyRequest{Operations: make([]*weirv1.Operation, b.batch)}
		for i := range m.Operations {
			m.Operations[i] = b.debit()
		}
		return exchange(s, m, t)
	}, nil
}

// exchange sends a message and waits until every operation of it is answered.
func exchange(s weirv1.LedgerService_ApplyClient, m *weirv1.ApplyRequest, t *tally) error {
	sent := s.Send(m)
	for left := len(m.Operations); left > 0; {
		r, err := s.Recv()
		if err != nil {
			return errors.Join(err, sent)
		}
		left -= len(r.GetAnswers())
		for _, a := range r.GetAnswers() {
			noteApplied(t, a)
		}
	}
	return sent
}

func noteApplied(t *tally, a *weirv1.Applied) {
	if f := a.GetFault(); f != nil {
		t.fault(f.GetWord(), errors.New(f.GetMessage()))
		return
	}
	if o := a.GetReceipt().GetOutcome(); o != "done" {
		t.fault(o, errors.New("a debit was not done: "+o))
		return
	}
	note(t, weirv1.Verdict_VERDICT_ALLOW, "done")
}

// courier carries operations of many callers on one stream.
type courier struct {
	out chan *weirv1.Operation

	mu     sync.Mutex
	waits  map[uint64]chan<- *weirv1.Applied // by the operation's id
	broken error
}

// carry sends an operation and waits for its answer.
func (c *courier) carry(ctx context.Context, o *weirv1.Operation, t *tally) error {
	answer := make(chan *weirv1.Applied, 1)
	c.mu.Lock()
	broken := c.broken
	c.waits[o.GetId()] = answer
	c.mu.Unlock()
	if broken != nil {
		return broken
	}
	defer func() {
		c.mu.Lock()
		delete(c.waits, o.GetId())
		c.mu.Unlock()
	}()
	select {
	case c.out <- o:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case a := <-answer:
		noteApplied(t, a)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run serves until ctx ends. When the stream breaks, who waits does so until his context ends.
func (c *courier) run(ctx context.Context, stub weirv1.LedgerServiceClient) {
	s, err := stub.Apply(ctx)
	if err == nil {
		var all sync.WaitGroup
		all.Go(func() { c.send(ctx, s) })
		err = c.receive(s)
		all.Wait()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = fmt.Errorf("the stream of debits: %w", err)
}

// send puts what waits into a message each time.
func (c *courier) send(ctx context.Context, s weirv1.LedgerService_ApplyClient) {
	for {
		m := &weirv1.ApplyRequest{}
		select {
		case o := <-c.out:
			m.Operations = append(m.Operations, o)
		case <-ctx.Done():
			return
		}
		for n := min(len(c.out), operationsMax-1); n > 0; n-- {
			m.Operations = append(m.Operations, <-c.out)
		}
		if s.Send(m) != nil {
			<-ctx.Done() // receiving tells why
			return
		}
	}
}

func (c *courier) receive(s weirv1.LedgerService_ApplyClient) error {
	for {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		c.mu.Lock()
		for _, a := range r.GetAnswers() {
			if answer := c.waits[a.GetId()]; answer != nil {
				answer <- a
				delete(c.waits, a.GetId())
			}
		}
		c.mu.Unlock()
	}
}
