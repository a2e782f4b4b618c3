package stream_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/weir-cluster/weir/api/stream"
	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

func TestABrokenStreamFailsItsCallsAndIsReplaced(t *testing.T) {
	first := true
	l := &link{}
	l.answer = func(ctx context.Context, c *weirv1.StreamedCheck) *weirv1.Outcome {
		if c.GetCheck().GetDomain() == "hold" && first {
			<-ctx.Done()
		}
		return echo(ctx, c)
	}
	running(t, l, func(t *testing.T, c *stream.Client) {
		failed := make(chan error)
		go func() {
			_, err := c.Check(t.Context(), &weirv1.CheckRequest{Domain: "hold"}, 0)
			failed <- err
		}()
		synctest.Wait()
		first = false
		close(l.opened[0].broken)
		if err := <-failed; !errors.Is(err, stream.ErrBroken) {
			t.Errorf("call on a broken stream: %v", err)
		}
		if o, err := c.Check(t.Context(), &weirv1.CheckRequest{Domain: "again"}, 0); err != nil || o.GetDecision().GetMessage() != "again" {
			t.Errorf("after the break: %v, %v", o, err)
		}
	})
}

// What waits while a stream breaks was not sent: it goes on the next one.
func TestACallThatWaitsOutlivesABrokenStream(t *testing.T) {
	l := &link{answer: echo, deaf: 1}
	running(t, l, func(t *testing.T, c *stream.Client) {
		sent, waits := make(chan error), make(chan error)
		call := func(domain string, done chan error) {
			_, err := c.Check(t.Context(), &weirv1.CheckRequest{Domain: domain}, 0)
			done <- err
		}
		go call("sent", sent)
		synctest.Wait() // the sender is stuck: nobody reads
		go call("waits", waits)
		synctest.Wait()
		close(l.opened[0].broken)
		if err := <-sent; !errors.Is(err, stream.ErrBroken) {
			t.Errorf("what was sent: %v", err)
		}
		if err := <-waits; err != nil {
			t.Errorf("what waited: %v", err)
		}
	})
}
