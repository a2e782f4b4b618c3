package transport

import (
	"slices"
	"sync"

	"github.com/weir-cluster/weir/policy"
)

// outboxBytes bounds what waits to be sent on a stream; past it who reads the stream waits. What is answered late comes
// on top: that is bounded by how many checks wait.
const outboxBytes = 1 << 20

// outbox sends answers on a stream, one message at a time and without a goroutine of its own: whoever has an answer while
// nobody sends, sends it, and then what others put in meanwhile. So a lone answer waits for nothing, and a crowd's share
// messages. It is safe for concurrent use. Once a message cannot be sent all others are dropped.
type outbox struct {
	buffers *buffers
	send    func(*reply) error // blocks while the caller does not read

	mu      sync.Mutex // guards what follows
	room    sync.Cond  // signalled when something was sent; who waits is only the stream's reader
	waiting []*[]byte  // outcomes, encoded; each is a message, and none too large for one
	bytes   int        // of waiting
	sending bool
	err     error
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
	if o.err != nil {
		return
	}
	if n := len(o.waiting); n == 0 || len(*o.waiting[n-1]) >= replyBytes {
		o.waiting = append(o.waiting, o.buffers.Get(0))
	}
	last := o.waiting[len(o.waiting)-1]
	before := len(*last)
	*last = appendStreamed(*last, id, d, err)
	o.bytes += len(*last) - before
	o.flush()
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

// close returns why not all was sent.
func (o *outbox) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}
