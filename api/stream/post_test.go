package stream_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/weir-cluster/weir/api/stream"
	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// heard is what came of a posted check, and when.
type heard struct {
	outcome *weirv1.Outcome
	took    time.Duration
	err     error
	after   time.Duration // since it was posted, by the test's own clock
	times   int
}

// posted posts a check of a domain and returns what comes of it, to be looked at when all is quiet.
func posted(ctx context.Context, t *testing.T, c *stream.Client, domain string, wait time.Duration) *heard {
	t.Helper()
	encoded, err := proto.Marshal(&weirv1.CheckRequest{Domain: domain})
	if err != nil {
		t.Fatal(err)
	}
	h, began := &heard{}, time.Now()
	err = c.Post(ctx, &stream.Call{Check: string(encoded), Epoch: 7, Wait: wait, Answer: func(b []byte, took time.Duration, err error) {
		h.times, h.took, h.err, h.after, h.outcome = h.times+1, took, err, time.Since(began), &weirv1.Outcome{}
		if err := proto.Unmarshal(b, h.outcome); err != nil {
			t.Errorf("%s: %v", domain, err)
		}
	}})
	if err != nil {
		h.err, h.times = err, 1
	}
	return h
}

// slowly answers each domain that is a duration after that time.
func slowly(ctx context.Context, c *weirv1.StreamedCheck) *weirv1.Outcome {
	after, _ := time.ParseDuration(c.GetCheck().GetDomain())
	time.Sleep(after)
	return echo(ctx, c)
}

func TestAPostedCheckIsAnsweredByWhoReceives(t *testing.T) {
	running(t, &link{answer: slowly}, func(t *testing.T, c *stream.Client) {
		var all []*heard
		for _, after := range []string{"3s", "1s", "2s"} {
			all = append(all, posted(t.Context(), t, c, after, time.Minute))
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		for i, want := range []time.Duration{3 * time.Second, time.Second, 2 * time.Second} {
			h := all[i]
			if h.times != 1 || h.err != nil || h.after != want || h.took != want || h.outcome.GetDecision().GetMessage() != want.String() || h.outcome.GetDecision().GetEpoch() != 7 {
				t.Errorf("%s: %+v", want, h)
			}
		}
	})
}

func TestAPostedCheckIsAnsweredOnceWhenItsTimeIsUp(t *testing.T) {
	l := &link{answer: slowly}
	running(t, l, func(t *testing.T, c *stream.Client) {
		var all []*heard
		waits := []time.Duration{50 * time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond, 5 * time.Millisecond, time.Second}
		for _, wait := range waits {
			all = append(all, posted(t.Context(), t, c, "500ms", wait))
		}
		time.Sleep(10 * time.Second) // the answers come, most too late
		synctest.Wait()
		again := posted(t.Context(), t, c, "1ms", 2*time.Millisecond)
		time.Sleep(time.Second)
		synctest.Wait()
		for i, h := range all {
			late, want := waits[i] < 500*time.Millisecond, min(waits[i], 500*time.Millisecond)
			if h.times != 1 || h.after != want || h.took != want || late != errors.Is(h.err, context.DeadlineExceeded) || !late && h.err != nil {
				t.Errorf("with %s: %+v", waits[i], h)
			}
		}
		if again.err != nil || again.after != time.Millisecond {
			t.Errorf("the next one: %+v", again)
		}
	})
	if len(l.opened) != 1 {
		t.Errorf("%d streams", len(l.opened))
	}
}

func TestABrokenStreamAnswersAllThatArePosted(t *testing.T) {
	l := &link{answer: slowly, deaf: 1}
	running(t, l, func(t *testing.T, c *stream.Client) {
		sent := posted(t.Context(), t, c, "sent", time.Minute)
		synctest.Wait() // the sender is stuck: nobody reads
		waits := posted(t.Context(), t, c, "waits", time.Minute)
		time.Sleep(time.Second)
		synctest.Wait()
		close(l.opened[0].broken)
		synctest.Wait()
		if !errors.Is(sent.err, stream.ErrBroken) || sent.took != time.Second || sent.times != 1 {
			t.Errorf("what was sent: %+v", sent)
		}
		if waits.err != nil || waits.times != 1 {
			t.Errorf("what waited: %+v", waits)
		}
	})
}

func TestWhatIsPostedOnAnEndedStreamIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &link{answer: slowly}
		c, gate := stalled(l)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		waits := posted(t.Context(), t, c, "waits", time.Minute)
		synctest.Wait()
		cancel()
		<-done
		close(gate)
		if late := posted(t.Context(), t, c, "late", time.Minute); !errors.Is(waits.err, stream.ErrBroken) || !errors.Is(late.err, stream.ErrBroken) {
			t.Errorf("%+v, %+v", waits, late)
		}
	})
}

func TestWhatIsPostedForAClientThatNeverRunsIsAnsweredAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := stream.NewClient(nil)
		h := posted(t.Context(), t, c, "waits", time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Run(ctx); err != nil || !errors.Is(h.err, stream.ErrBroken) || h.times != 1 {
			t.Errorf("%+v, %v", h, err)
		}
	})
}

// What its caller has given up must take nothing from anybody's limits.
func TestAPostedCheckWhoseCallerIsGoneIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var served sync.Map
		l := &link{answer: func(ctx context.Context, c *weirv1.StreamedCheck) *weirv1.Outcome {
			served.Store(c.GetCheck().GetDomain(), c.GetTimeoutMs())
			return echo(ctx, c)
		}}
		c, gate := stalled(l)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		caller, hangUp := context.WithCancel(t.Context())
		stays := posted(t.Context(), t, c, "stays", 3*time.Second)
		gone := posted(caller, t, c, "gone", time.Minute)
		late := posted(t.Context(), t, c, "late", time.Second)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		hangUp()
		close(gate)
		synctest.Wait()
		if stays.err != nil || !errors.Is(gone.err, context.Canceled) || gone.times != 1 || !errors.Is(late.err, context.DeadlineExceeded) || late.times != 1 {
			t.Errorf("stays %+v, gone %+v, late %+v", stays, gone, late)
		}
		for _, domain := range []string{"gone", "late"} {
			if _, sent := served.Load(domain); sent {
				t.Errorf("%s was sent", domain)
			}
		}
		if left, _ := served.Load("stays"); left != int64(1000) {
			t.Errorf("the server was told of %v ms, 1000 are left", left)
		}
		cancel()
		<-done
		l.servers.Wait()
	})
}

// A peer that hangs must not hold up who posts: at the bound it is told so, and before it everything ends in its time.
func TestPostNeverWaitsForAPeerThatHangs(t *testing.T) {
	running(t, &link{answer: slowly, deaf: 1, room: 1}, func(t *testing.T, c *stream.Client) {
		first := posted(t.Context(), t, c, "first", time.Second)
		time.Sleep(2 * time.Second) // sent, and never answered
		synctest.Wait()
		var all []*heard
		busy := 0
		for range 10_000 {
			h := posted(t.Context(), t, c, "more", time.Second)
			if errors.Is(h.err, stream.ErrBusy) {
				busy++
				continue
			}
			all = append(all, h)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for _, h := range append(all, first) {
			if !errors.Is(h.err, context.DeadlineExceeded) || h.after != time.Second || h.times != 1 {
				t.Fatalf("%+v", h)
			}
		}
		if len(all) < 4096 || busy == 0 {
			t.Errorf("%d were taken, %d were told that it is busy", len(all), busy)
		}
	})
}

func TestTenThousandOpenChecksEachEndInTheirTime(t *testing.T) {
	l := &link{answer: func(ctx context.Context, c *weirv1.StreamedCheck) *weirv1.Outcome {
		if n, _ := strconv.Atoi(c.GetCheck().GetDomain()); n%2 == 0 {
			<-ctx.Done()
		}
		return echo(ctx, c)
	}}
	running(t, l, func(t *testing.T, c *stream.Client) {
		const n = 10_000
		all := make([]*heard, n)
		wait := func(i int) time.Duration { return time.Duration(100+i*7919%1000) * time.Millisecond }
		for i := range n {
			all[i] = posted(t.Context(), t, c, strconv.Itoa(i), wait(i))
			if i%1000 == 999 {
				synctest.Wait() // what waits to be sent is bounded
			}
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		for i, h := range all {
			silent := i%2 == 0
			if h.times != 1 || silent && (h.after != wait(i) || !errors.Is(h.err, context.DeadlineExceeded) && h.err != nil) || !silent && (h.err != nil || h.after != 0) {
				t.Fatalf("%d, with %s: %+v", i, wait(i), h)
			}
		}
	})
}

// Who is alone on a stream sends his check himself, so that nobody has to be woken for it.
func TestALoneCheckIsSentFromWhereItIsPosted(t *testing.T) {
	l := &link{answer: echo, room: 1}
	running(t, l, func(t *testing.T, c *stream.Client) {
		posted(t.Context(), t, c, "opens the stream", time.Minute)
		for range 3 {
			synctest.Wait()
			before := l.messages.Load()
			h := posted(t.Context(), t, c, "alone", time.Minute)
			if n := l.messages.Load() - before; n != 1 {
				t.Errorf("%d messages were sent before Post returned", n)
			}
			synctest.Wait()
			if h.err != nil || h.times != 1 {
				t.Errorf("%+v", h)
			}
		}
	})
}

// Who asks waits no longer than he says, whatever time his context has; what comes of it later harms nobody.
func TestWhoAsksWaitsUntilItIsDue(t *testing.T) {
	l := &link{answer: slowly}
	running(t, l, func(t *testing.T, c *stream.Client) {
		encoded, err := proto.Marshal(&weirv1.CheckRequest{Domain: "500ms"})
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range []struct {
			ctx, due, took time.Duration
			err            error
		}{
			{0, 0, 500 * time.Millisecond, nil},
			{time.Second, 20 * time.Millisecond, 20 * time.Millisecond, context.DeadlineExceeded},
			{0, 30 * time.Millisecond, 30 * time.Millisecond, context.DeadlineExceeded},
			{10 * time.Millisecond, time.Second, 10 * time.Millisecond, context.DeadlineExceeded},
			{0, time.Second, 500 * time.Millisecond, nil},
			{0, -time.Second, 0, context.DeadlineExceeded},
		} {
			ctx, cancel, began := t.Context(), func() {}, time.Now()
			if row.ctx > 0 {
				ctx, cancel = context.WithTimeout(ctx, row.ctx)
			}
			var due time.Time
			if row.due != 0 {
				due = began.Add(row.due)
			}
			outcome, err := c.Ask(ctx, string(encoded), 7, due)
			if took := time.Since(began); took != row.took || !errors.Is(err, row.err) || (err == nil) != (outcome != "") {
				t.Errorf("%+v: %q, %v after %s", row, outcome, err, took)
			}
			cancel()
		}
		time.Sleep(time.Second)
	})
	if len(l.opened) != 1 {
		t.Errorf("%d streams", len(l.opened))
	}
}
