package transport

import (
	"slices"
	"sync"

	"github.com/weir-cluster/weir/policy"
)

// outboxBytes bounds what waits to be sent on a stream; past it who reads the stream waits. What is answered late comes
// on top: that is bounded by how many checks wait.
const outboxBytes = 1 << 20

// outbox sends answers on a stream, one message at a time: whoever has an answer while nobody sends, sends it, and then what
// others put in meanwhile. So a lone answer waits for nothing, and a crowd's share messages. Only who must not wait for the
// caller leaves that to a goroutine. It is safe for concurrent use. Once a message cannot be sent all others are dropped.
type outbox struct {
	buffers *buffers
	send    func(*reply) error // blocks while the caller does not read

	mu      sync.Mutex // guards what follows
	room    sync.Cond  // signalled when something was sent; who waits is only the stream's reader
	waiting []*[]byte  // outcomes, encoded; each is a message, and none too large for one
	bytes   int        // of waiting
	sending bool
	err     error
	wake    chan struct{} // nil without a goroutine; capacity 1
}

// put sends outcomes, or has them sent, and takes the buffer. It may wait until there is room for them, and returns why
// nothing can be sent any more.
func (o *outbox) put(b *[]byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.bytes > outboxBytes && o.err == nil {
		o.room.Wait()
	}
	if len(*b) == 0 || o.err != nil {
		o.buffers.Put(b)
		return o.err
	}
	o.waiting = append(o.waiting, b)
	o.bytes += len(*b)
	o.flush()
	return o.err
}

// add sends one outcome, or has it sent. It waits for no room.
func (o *outbox) add(id uint64, d *policy.Decision, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.enter(func(b []byte) []byte { return appendStreamed(b, id, d, err) })
		o.flush()
	}
}

// pass has one outcome sent, whose decision is encoded already. It waits for nothing.
func (o *outbox) pass(id uint64, decision []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return
	}
	o.enter(func(b []byte) []byte { return appendCarried(b, id, decision) })
	if !o.sending { // who does takes it along
		select {
		case o.wake <- struct{}{}:
		default:
		}
	}
}

// enter appends an outcome to what waits. It is called with the lock.
func (o *outbox) enter(outcome func(b []byte) []byte) {
	if n := len(o.waiting); n == 0 || len(*o.waiting[n-1]) >= replyBytes {
		o.waiting = append(o.waiting, o.buffers.Get(0))
	}
	last := o.waiting[len(o.waiting)-1]
	before := len(*last)
	*last = outcome(*last)
	o.bytes += len(*last) - before
}

// serve sends what is passed, each time that it is woken, until close.
func (o *outbox) serve(wake <-chan struct{}) {
	for range wake {
		o.mu.Lock()
		o.flush()
		o.mu.Unlock()
	}
}

// flush sends what waits unless somebody does already. It is called with the lock, which it gives up while it sends.
func (o *outbox) flush() {
	if o.sending {
		return
	}
	o.sending = true
	for len(o.waiting) > 0 && o.err == nil {
		b := o.waiting[0]
		o.waiting = slices.Delete(o.waiting, 0, 1)
		o.bytes -= len(*b)
		o.mu.Unlock()
		err := o.send(&reply{b, o.buffers})
		o.mu.Lock()
		o.err = err
		o.room.Signal()
	}
	o.sending = false
}

// close ends serve, once it sent what was passed. What is passed later nobody sends.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.wake != nil {
		close(o.wake)
		o.wake = nil
	}
}

// failure returns why not all was sent.
func (o *outbox) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}
