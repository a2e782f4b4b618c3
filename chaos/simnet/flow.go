package simnet

import (
	"bytes"
	"io"
	"slices"
	"time"
)

// flow is one direction of a stream: what was sent and is on its way, and what has arrived.
type flow struct {
	link     *link
	from, to *conn
	way      []segment // in order: one that is due waits for those before it
	wayBytes int
	arrived  bytes.Buffer
	end      error // io.EOF or a reset, once it has arrived
	timer    *time.Timer
}

// segment is what one write sent: bytes, or the end of the stream.
type segment struct {
	bytes []byte
	end   error
	due   time.Time
}

func newFlow(l *link, from, to *conn) *flow {
	f := &flow{link: l, from: from, to: to}
	l.flows = append(l.flows, f)
	return f
}

func (f *flow) load() int { return f.wayBytes + f.arrived.Len() }

func (f *flow) send(s segment) {
	now := time.Now()
	s.due = now.Add(f.link.delay())
	f.way = append(f.way, s)
	f.wayBytes += len(s.bytes)
	f.link.tally(func(t *Stats) { t.Writes++ })
	if f.link.stopped() {
		f.link.tally(func(t *Stats) { t.BytesStalled += uint64(len(s.bytes)) })
		return
	}
	f.advance(now)
}

// advance hands over what is due and sets the timer for the rest. A timer may come late, after a cut.
func (f *flow) advance(now time.Time) {
	if f.link.stopped() {
		return
	}
	for len(f.way) > 0 && !f.way[0].due.After(now) {
		s := f.way[0]
		f.way = f.way[1:]
		f.wayBytes -= len(s.bytes)
		f.deliver(s)
	}
	if len(f.way) > 0 {
		f.arm(f.way[0].due.Sub(now))
	}
	f.settle()
	f.to.out.settle()
}

func (f *flow) arm(d time.Duration) {
	if f.timer == nil {
		f.timer = time.AfterFunc(d, f.tick)
		return
	}
	f.timer.Reset(d)
}

func (f *flow) tick() {
	f.link.n.mu.Lock()
	defer f.link.n.mu.Unlock()
	f.advance(time.Now())
}

func (f *flow) deliver(s segment) {
	switch {
	case s.end == io.EOF:
		f.end = io.EOF
	case s.end != nil:
		if !f.to.closed {
			f.link.tally(func(t *Stats) { t.StreamsReset++ })
		}
		f.to.reset = true
		if f.end == nil {
			f.end = s.end
		}
	case f.to.closed:
		f.to.refuse()
	default:
		f.arrived.Write(s.bytes)
	}
	f.to.ready.Broadcast()
}

// stall stops the clock of what is on its way: the link was stopped.
func (f *flow) stall() {
	if f.timer != nil {
		f.timer.Stop()
	}
	f.link.tally(func(t *Stats) { t.BytesStalled += uint64(f.wayBytes) })
}

// resume lets all that waited arrive at due, as a sender does that sends again.
func (f *flow) resume(due time.Time) {
	for i := range f.way {
		f.way[i].due = due
	}
	f.advance(time.Now())
}

// drop loses what is on its way.
func (f *flow) drop() {
	f.way, f.wayBytes = nil, 0
}

// settle forgets a flow that has nothing to bring to anybody.
func (f *flow) settle() {
	if len(f.way) > 0 || !f.from.closed || !f.to.closed {
		return
	}
	if i := slices.Index(f.link.flows, f); i >= 0 {
		f.link.flows = slices.Delete(f.link.flows, i, i+1)
	}
}
