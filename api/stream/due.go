package stream

import (
	"context"
	"time"
)

// watch has the alarm ring no later than a call is due. It is called with the lock.
func (c *Client) watch(k *Call) {
	c.dues.add(k)
	if c.rings.IsZero() || k.due.Before(c.rings) {
		c.rings = k.due
		c.alarm.Reset(time.Until(k.due))
	}
}

// expire answers the calls whose time is up, until ctx ends. One timer serves all: nearly always the call that it was
// set for is long answered when it rings, and then it is set for the one that is due first by now.
func (c *Client) expire(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.alarm.C:
			fail(c.overdue(), context.DeadlineExceeded)
		}
	}
}

// overdue takes out the calls whose time is up, and sets the alarm for the next.
func (c *Client) overdue() (calls []*Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for len(c.dues) > 0 && !c.dues[0].due.After(now) {
		k := c.dues[0]
		c.giveUp(k)
		calls = append(calls, k)
	}
	c.rings = time.Time{}
	if len(c.dues) > 0 {
		c.rings = c.dues[0].due
		c.alarm.Reset(c.rings.Sub(now))
	}
	return calls
}

// dues are calls by when they are due: a binary heap in which each knows its place. Nearly all have the same time, so a
// new one stays at the end, and the first is answered first.
type dues []*Call

func (d *dues) add(k *Call) {
	*d = append(*d, k)
	d.rise(len(*d) - 1)
}

// remove takes a call out, if it is among them.
func (d *dues) remove(k *Call) {
	i := k.place - 1
	if i < 0 {
		return
	}
	k.place = 0
	end := len(*d) - 1
	last := (*d)[end]
	(*d)[end], *d = nil, (*d)[:end]
	if i == end {
		return
	}
	d.put(i, last)
	d.sink(i)
	d.rise(last.place - 1)
}

func (d dues) put(i int, k *Call) { d[i], k.place = k, i+1 }

// rise moves the call at i up to where nothing above it is due later.
func (d dues) rise(i int) {
	k := d[i]
	for i > 0 && k.due.Before(d[(i-1)/2].due) {
		d.put(i, d[(i-1)/2])
		i = (i - 1) / 2
	}
	d.put(i, k)
}

// sink moves the call at i down to where nothing below it is due earlier.
func (d dues) sink(i int) {
	k := d[i]
	for {
		next := 2*i + 1
		if next+1 < len(d) && d[next+1].due.Before(d[next].due) {
			next++
		}
		if next >= len(d) || !d[next].due.Before(k.due) {
			break
		}
		d.put(i, d[next])
		i = next
	}
	d.put(i, k)
}
