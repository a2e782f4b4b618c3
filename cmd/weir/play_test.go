package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

// ended is a play that went as told, up to the denial; its ledger says that balance is left.
func ended(t *testing.T, balance string) *demo {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"id":"alice","balance_micros":`+balance+`}`)
	}))
	t.Cleanup(s.Close)
	c, err := rest.New(rest.Config{Addr: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	return &demo{
		shell: &shell{stdout: &bytes.Buffer{}}, fleet: &fleet{nodes: []*process{{name: "n1"}, {name: "n2"}, {name: "n3"}}},
		clients: []*rest.Client{c, c, c}, home: "n2", victim: 0, killed: true,
		units:  map[string]int64{"LIMIT": 5, "INCLUDED": 3, "PROMO": 2, "CREDIT": 2},
		micros: map[string]int64{"INCLUDED": 30_000, "PROMO": 20_000, "CREDIT": 20_000},
	}
}

func TestDemoFailsWhenItIsAnotherStory(t *testing.T) {
	t.Parallel()
	good := client.Decision{Verdict: "DENY", Reason: "CREDITS_EXHAUSTED", Remedy: "buy", Message: "m", RetryAfterMS: 900}
	rows := []struct {
		name, balance string
		bend          func(d *demo, a *client.Decision)
		words         string // none: it is the story
	}{
		{"as told", "0", func(*demo, *client.Decision) {}, ""},
		{"time gave one back", "0", func(d *demo, _ *client.Decision) { d.units["LIMIT"]++ }, ""},
		{"limit gave two more", "0", func(d *demo, _ *client.Decision) { d.units["LIMIT"] += 2 }, "should be 5 to 6"},
		{"limit gave one less", "0", func(d *demo, _ *client.Decision) { d.units["LIMIT"]-- }, "admitted 4"},
		{"charged twice", "0", func(d *demo, _ *client.Decision) { d.micros["PROMO"] += 10_000 }, "0.03 credits came from PROMO"},
		{"credit left", "10000", func(*demo, *client.Decision) {}, "balance is 0.01"},
		{"nobody killed", "0", func(d *demo, _ *client.Decision) { d.killed = false }, "before a node was killed"},
		{"another reason", "0", func(_ *demo, a *client.Decision) { a.Reason = "RATE_LIMITED" }, "RATE_LIMITED"},
		{"no time to come back", "0", func(_ *demo, a *client.Decision) { a.RetryAfterMS = 0 }, "when to come back"},
		{"fault on the way", "0", func(d *demo, _ *client.Decision) { d.wrong = []string{"decided by n3"} }, "decided by n3"},
	}
	for _, r := range rows {
		d, denial := ended(t, r.balance), good
		r.bend(d, &denial)
		err := d.judge(t.Context(), denial, 13*time.Second)
		if r.words == "" && err != nil {
			t.Errorf("%s: %v", r.name, err)
		}
		if r.words != "" && (!errors.Is(err, errOtherStory) || !strings.Contains(err.Error(), r.words)) {
			t.Errorf("%s: error %v, want %q", r.name, err, r.words)
		}
	}
}
