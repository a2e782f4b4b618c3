package transport

import "sync"

// Audience is those who watch the view: it counts them and tells them when there is something new. The zero value is
// ready, and it is safe for concurrent use.
type Audience struct {
	mu    sync.Mutex
	news  chan struct{} // closed by Tell; nil while nobody waits
	count int
	over  bool
}

// Join counts one more, until leave is called.
func (a *Audience) Join() (leave func()) {
	a.mu.Lock()
	a.count++
	a.mu.Unlock()
	return func() {
		a.mu.Lock()
		a.count--
		a.mu.Unlock()
	}
}

// Count returns how many watch.
func (a *Audience) Count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count
}

// News returns a channel that the next Tell or Dismiss closes, and whether there will be one. Who takes it before
// looking misses nothing.
func (a *Audience) News() (news <-chan struct{}, more bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.news == nil {
		a.news = make(chan struct{})
	}
	return a.news, !a.over
}

// Dismiss sends everyone away, and who comes later too: this node is stopping, others know more.
func (a *Audience) Dismiss() {
	a.mu.Lock()
	a.over = true
	a.mu.Unlock()
	a.Tell()
}

// Tell wakes everyone who waits for news.
func (a *Audience) Tell() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.news != nil {
		close(a.news)
		a.news = nil
	}
}
