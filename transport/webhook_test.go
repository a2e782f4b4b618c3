package transport

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/journal"
)

const testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// got is a request to an endpoint.
type got struct {
	at     time.Time
	header http.Header
	body   string
	ids    []string // of its events
}

// endpoint answers deliveries by a func and keeps them.
type endpoint struct {
	mu     sync.Mutex
	all    []got
	answer func(got) (status int, header http.Header)
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	g := got{time.Now(), r.Header.Clone(), string(body), idsIn(body)}
	status, header := 204, http.Header(nil)
	if e.answer != nil {
		status, header = e.answer(g)
	}
	e.mu.Lock()
	e.all = append(e.all, g)
	e.mu.Unlock()
	for name := range header {
		w.Header().Set(name, header.Get(name))
	}
	w.WriteHeader(status)
}

func (e *endpoint) received() []got {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]got(nil), e.all...)
}

// idsIn reads the ids of an event or of a batch of them.
func idsIn(body []byte) (ids []string) {
	all := make([]cloudEvent, 1)
	if len(body) > 0 && body[0] == '[' {
		_ = json.Unmarshal(body, &all)
	} else {
		_ = json.Unmarshal(body, &all[0])
	}
	for _, e := range all {
		ids = append(ids, e.ID)
	}
	return ids
}

// hookRig is a webhook and what is around it.
type hookRig struct {
	*endpoint
	config  WebhookConfig
	journal *journal.Journal
	letters *DeadLetters
	cursors *desks
	dead    int
	lost    uint64
}

func newHookRig(t *testing.T) *hookRig {
	t.Helper()
	r := &hookRig{endpoint: &endpoint{}, journal: ledgerJournal(t), cursors: &desks{}}
	r.letters = NewDeadLetters(ledgerJournal(t))
	secret, err := ParseSecret(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	c := DefaultWebhook()
	c.Name, c.URL, c.AllowHTTP, c.Secrets, c.Source = "billing", "http://consumer/hook", true, [][]byte{secret}, "/weir/test"
	c.Events, c.Cursors, c.Letters, c.Client = r.journal, r.cursors, r.letters, hosting(t, r.endpoint)
	c.Now, c.Jitter, c.Leading = time.Now, func() float64 { return 1 }, func() bool { return true }
	c.GiveUp = 100 * 365 * 24 * time.Hour
	c.Meters.Dead = func(n int) { r.dead += n }
	c.Meters.Lost = func(n uint64) { r.lost += n }
	r.config = c
	return r
}

func (r *hookRig) hook(t *testing.T) *Webhook {
	t.Helper()
	h, err := NewWebhook(r.config)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// run runs the webhook for a while.
func (r *hookRig) run(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := r.hook(t).Run(ctx); err != nil {
		t.Error(err)
	}
}

// order returns the ids received, each once, and fails if one comes before an older one was there.
func (r *hookRig) order(t *testing.T) (ids []uint64) {
	t.Helper()
	for _, g := range r.received() {
		for _, text := range g.ids {
			id, _ := strconv.ParseUint(text, 10, 64)
			newest := uint64(0)
			if len(ids) > 0 {
				newest = ids[len(ids)-1]
			}
			if id > newest+1 {
				t.Fatalf("event %d came after %d", id, newest)
			}
			if id == newest+1 {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

func TestAWebhookGetsEveryEventInOrder(t *testing.T) {
	for _, batch := range []int{1, 7} {
		t.Run(fmt.Sprint(batch), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newHookRig(t)
				r.config.Batch = batch
				happen(t, r.journal, 1, 50)
				go func() {
					time.Sleep(10 * time.Second)
					for seq := uint64(51); seq <= 60; seq++ {
						happen(t, r.journal, seq, seq)
						time.Sleep(150 * time.Millisecond)
					}
				}()
				r.run(t, time.Minute)
				if ids := r.order(t); len(ids) != 60 || len(r.received()) > 50/batch+11 {
					t.Errorf("%d events in %d requests", len(ids), len(r.received()))
				}
				if at := r.cursors.at["webhook/billing"]; at != 60 {
					t.Errorf("the cursor is at %d", at)
				}
				if r.cursors.sets > 4 {
					t.Errorf("the cursor was noted %d times", r.cursors.sets)
				}
			})
		})
	}
}

// The recipe of sign, done by hand.
func TestADeliveryIsSigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHookRig(t)
		r.config.Secrets = append(r.config.Secrets, []byte("the one that comes next....."))
		happen(t, r.journal, 1, 1)
		r.run(t, time.Second)
		g := r.received()[0]
		if g.header.Get("Content-Type") != "application/cloudevents+json" || g.header.Get("webhook-id") != "1" ||
			g.header.Get("webhook-timestamp") != fmt.Sprint(g.at.Unix()) {
			t.Errorf("headers %v", g.header)
		}
		secret, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(testSecret, "whsec_"))
		var want []string
		for _, key := range [][]byte{secret, []byte("the one that comes next.....")} {
			mac := hmac.New(sha256.New, key)
			mac.Write([]byte("1." + g.header.Get("webhook-timestamp") + "." + g.body))
			want = append(want, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		}
		if got := g.header.Get("webhook-signature"); got != strings.Join(want, " ") {
			t.Errorf("signature %s, want %s", got, want)
		}
	})
}

// The example of the Standard Webhooks specification.
func TestTheSpecificationsOwnSignature(t *testing.T) {
	secret, err := ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	sign(h, [][]byte{secret}, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if got := h.Get("webhook-signature"); got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("signature %s", got)
	}
	for _, bad := range []string{"", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_short", "whsec_!!!!", "whsec_" + strings.Repeat("QUJD", 30)} {
		if _, err := ParseSecret(bad); !errors.Is(err, ledger.ErrInvalid) || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestAFailingEndpointIsTriedLessAndLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHookRig(t)
		r.config.Longest = time.Minute
		happen(t, r.journal, 1, 3)
		up := time.Now().Add(10 * time.Minute)
		r.answer = func(g got) (int, http.Header) {
			if g.at.Before(up) {
				return []int{500, 404, 401, 429, 302}[g.at.Unix()%5], nil
			}
			return 200, nil
		}
		r.run(t, 12*time.Minute)
		all := r.received()
		wait := time.Duration(0)
		for i, g := range all[1:] {
			if g.ids[0] != "1" {
				break
			}
			next := g.at.Sub(all[i].at)
			if next < wait || next > time.Minute+time.Second {
				t.Errorf("try %d came after %s, the one before after %s", i+2, next, wait)
			}
			wait = min(next, 59*time.Second)
		}
		if ids := r.order(t); len(ids) != 3 || len(all) > 25 || r.dead != 0 {
			t.Errorf("%d events in %d requests, %d dead", len(ids), len(all), r.dead)
		}
	})
}

func TestAnEndpointMayAskForAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHookRig(t)
		happen(t, r.journal, 1, 1)
		begun := time.Now()
		r.answer = func(g got) (int, http.Header) {
			switch since := g.at.Sub(begun); {
			case since == 0:
				return 503, http.Header{"Retry-After": {"120"}}
			case since < 5*time.Minute:
				return 503, http.Header{"Retry-After": {"9999999"}}
			}
			return 200, nil
		}
		r.run(t, time.Hour)
		all := r.received()
		if len(all) != 3 || all[1].at.Sub(all[0].at) != 2*time.Minute || all[2].at.Sub(all[1].at) != r.config.Longest {
			t.Errorf("tries at %v", all)
		}
	})
}

// An event that the endpoint will never take does not hold up the others.
func TestAPoisonousEventBecomesADeadLetter(t *testing.T) {
	for _, batch := range []int{1, 5} {
		for _, status := range []int{400, 410, 422} {
			t.Run(fmt.Sprintf("%d in batches of %d", status, batch), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newHookRig(t)
					r.config.Batch = batch
					happen(t, r.journal, 1, 20)
					healed := false
					r.answer = func(g got) (int, http.Header) {
						if !healed && strings.Contains(g.body, `"id":"7"`) {
							return status, nil
						}
						return 200, nil
					}
					r.run(t, time.Minute)
					if ids := r.order(t); len(ids) != 20 || r.dead != 1 {
						t.Errorf("%d events, %d dead", len(ids), r.dead)
					}
					letters, err := r.letters.List(t.Context(), 0, 10)
					if err != nil || len(letters) != 1 || letters[0].Seq != 7 || letters[0].Status != status || letters[0].Webhook != "billing" {
						t.Fatalf("letters %+v, %v", letters, err)
					}
					h := r.hook(t)
					if err := r.letters.Redeliver(t.Context(), letters[0].ID, h); err == nil || !strings.Contains(err.Error(), fmt.Sprint(status)) {
						t.Errorf("redelivered while it is refused: %v", err)
					}
					healed = true
					if err := r.letters.Redeliver(t.Context(), letters[0].ID, h); err != nil {
						t.Error(err)
					}
					all := r.received()
					if last := all[len(all)-1]; last.ids[0] != "7" {
						t.Errorf("redelivered %v", last)
					}
					if letters, err := r.letters.List(t.Context(), 0, 10); err != nil || len(letters) != 0 {
						t.Errorf("letters %+v, %v", letters, err)
					}
					if err := r.letters.Redeliver(t.Context(), 99, h); !errors.Is(err, ErrNoLetter) {
						t.Errorf("letter 99: %v", err)
					}
				})
			})
		}
	}
}

func TestWhatFailedForTooLongBecomesADeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHookRig(t)
		r.config.GiveUp = time.Hour
		for seq := uint64(1); seq <= 3; seq++ { // a backlog of old events: their age alone is no reason
			old := change(seq)
			old.Wall = time.Now().Add(-24 * time.Hour)
			_ = r.journal.Append(seq, old.Encode())
		}
		tried := map[string]int{}
		r.answer = func(g got) (int, http.Header) {
			if tried[g.ids[0]]++; g.ids[0] == "1" || g.ids[0] == "3" && tried["3"] == 1 {
				return 500, nil
			}
			return 200, nil
		}
		begun := time.Now()
		r.run(t, 2*time.Hour)
		letters, err := r.letters.List(t.Context(), 0, 10)
		if err != nil || len(letters) != 1 || letters[0].Seq != 1 || letters[0].Status != 500 {
			t.Fatalf("letters %+v, %v", letters, err)
		}
		if took := letters[0].At.Sub(begun); took < time.Hour || took > 70*time.Minute {
			t.Errorf("put aside after %s", took)
		}
		if ids := r.order(t); len(ids) != 3 || tried["3"] != 2 {
			t.Errorf("events %v", ids)
		}
	})
}

func TestOnlyTheLeaderDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHookRig(t)
		r.config.Jitter = func() float64 { return 0.5 }
		leads := time.Now().Add(time.Minute)
		ends := leads.Add(10 * time.Second)
		r.config.Leading = func() bool { now := time.Now(); return now.After(leads) && now.Before(ends) }
		go func() {
			for seq := uint64(1); seq <= 200; seq++ {
				happen(t, r.journal, seq, seq)
				time.Sleep(time.Second)
			}
		}()
		r.run(t, 5*time.Minute)
		for _, g := range r.received() {
			if g.at.Before(leads) || g.at.After(ends) {
				t.Errorf("event %v was sent at %s", g.ids, g.at)
			}
		}
		if ids := r.order(t); len(ids) < 60 || len(ids) > 75 || r.cursors.at["webhook/billing"] != ids[len(ids)-1] {
			t.Errorf("%d events, cursor %d", len(ids), r.cursors.at["webhook/billing"])
		}
		time.Sleep(5 * time.Minute)
	})
}

func TestWhoLeadsNoMoreTriesNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHookRig(t)
		happen(t, r.journal, 1, 3)
		ends := time.Now().Add(20 * time.Second)
		r.config.Leading = func() bool { return time.Now().Before(ends) }
		r.answer = func(got) (int, http.Header) { return 500, nil }
		r.run(t, 10*time.Minute)
		all := r.received()
		if len(all) < 3 || all[len(all)-1].at.After(ends) {
			t.Errorf("%d tries, the last one %s after it ended", len(all), all[len(all)-1].at.Sub(ends))
		}
	})
}

// The node, the endpoint and the cursor fail at random moments, and another node goes on.
func TestNothingIsMissedWhateverCrashes(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 7))
			r := newHookRig(t)
			r.config.Batch = 1 + rng.IntN(6)
			r.config.Jitter, r.config.Timeout = rng.Float64, 2*time.Second
			bodies := map[string]string{}
			r.answer = func(g got) (int, http.Header) {
				r.mu.Lock()
				defer r.mu.Unlock()
				for _, id := range g.ids {
					i := strings.Index(g.body, `"id":"`+id+`"`)
					end := strings.Index(g.body[i:], `"term"`)
					if text := g.body[i : i+end]; bodies[id] != "" && bodies[id] != text {
						t.Errorf("event %s was %s, and then %s", id, bodies[id], text)
					} else {
						bodies[id] = text
					}
				}
				switch n := rng.IntN(10); {
				case n == 0:
					return 500, nil
				case n == 1:
					panic(http.ErrAbortHandler) // it was taken, but nobody hears of it
				}
				return 200, nil
			}
			const newest = 300
			go func() {
				for seq := uint64(1); seq <= newest; seq++ {
					happen(t, r.journal, seq, seq)
					time.Sleep(10 * time.Millisecond)
				}
			}()
			for range 200 {
				r.cursors.mu.Lock()
				r.cursors.fail = rng.IntN(4) == 0
				r.cursors.mu.Unlock()
				r.run(t, time.Duration(rng.IntN(3000))*time.Millisecond) // a new process each time
			}
			r.cursors.fail = false
			r.run(t, time.Minute)
			if at := r.cursors.at["webhook/billing"]; at != newest || len(bodies) != newest {
				t.Errorf("seed %d: the cursor is at %d and %d events came, want %d", seed, at, len(bodies), newest)
			}
			r.orderOfFirsts(t, newest)
		})
	}
}

// orderOfFirsts checks that every event came, the first time after all older ones had come.
func (r *hookRig) orderOfFirsts(t *testing.T, newest int) {
	t.Helper()
	ids := r.order(t)
	if len(ids) != newest {
		t.Errorf("%d events came in order, want %d", len(ids), newest)
	}
}

func TestWebhookConfigsAreChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, spoil := range map[string]func(*WebhookConfig){
			"no name":    func(c *WebhookConfig) { c.Name = "" },
			"long name":  func(c *WebhookConfig) { c.Name = strings.Repeat("n", 60) },
			"no URL":     func(c *WebhookConfig) { c.URL = "" },
			"a file":     func(c *WebhookConfig) { c.URL = "file:///etc/passwd" },
			"in plain":   func(c *WebhookConfig) { c.AllowHTTP = false },
			"a user":     func(c *WebhookConfig) { c.URL = "https://me:secret@consumer/" },
			"movement":   func(c *WebhookConfig) { c.Movements = []string{"explode"} },
			"account":    func(c *WebhookConfig) { c.Accounts = []string{""} },
			"accounts":   func(c *WebhookConfig) { c.Accounts = make([]string, 257) },
			"long try":   func(c *WebhookConfig) { c.Timeout = time.Minute },
			"no host":    func(c *WebhookConfig) { c.URL = "https://" },
			"no secret":  func(c *WebhookConfig) { c.Secrets = nil },
			"no batch":   func(c *WebhookConfig) { c.Batch = 0 },
			"no timeout": func(c *WebhookConfig) { c.Timeout = 0 },
			"waits":      func(c *WebhookConfig) { c.Longest = c.First - 1 },
			"no cursors": func(c *WebhookConfig) { c.Cursors = nil },
			"no client":  func(c *WebhookConfig) { c.Client = nil },
		} {
			r := newHookRig(t)
			spoil(&r.config)
			if _, err := NewWebhook(r.config); !errors.Is(err, ledger.ErrInvalid) || strings.Contains(err.Error(), "me:secret") {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
