package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/weir-cluster/weir/chaos/simnet"
	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
	"github.com/weir-cluster/weir/ring"
)

// fakeRoster answers a removal with what the name asks for.
type fakeRoster struct{}

func (fakeRoster) Remove(_ context.Context, name string) error {
	switch name {
	case "gone":
		return nil
	case "nobody":
		return fmt.Errorf("%w: nobody is not in the roster", cluster.ErrNoMember)
	case "here":
		return fmt.Errorf("%w: here is running", cluster.ErrPresent)
	case "elsewhere":
		return &cluster.NotLeaderError{Leader: "n2"}
	default:
		return fmt.Errorf("%w: too late", cluster.ErrUnknown)
	}
}

func TestARemovalIsAnsweredWithWhatCameOfIt(t *testing.T) {
	ask := asking(t)
	s := server(fakeAccess{})
	s.Roster = fakeRoster{}
	for _, r := range []struct {
		name   string
		status int
		words  string
	}{
		{"gone", 200, `{"removed":"gone"}`},
		{"nobody", 404, "nobody is not in the roster"},
		{"here", 409, `"reason":"MEMBER_PRESENT"`},
		{"elsewhere", 503, "ask n2"},
		{"lost", 503, `"reason":"UNKNOWN"`},
	} {
		res := ask(t, s, "DELETE", "/v1/members/"+r.name, "")
		if body, _ := io.ReadAll(res.Body); res.StatusCode != r.status || !strings.Contains(string(body), r.words) {
			t.Errorf("%s: %d %s, want %d and %q", r.name, res.StatusCode, body, r.status, r.words)
		}
	}
}

// What the leader says of a removal means the same at the node that asked it.
func TestARemovalIsPassedOnWithItsError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := simnet.New(1)
		l, err := network.Host("10.0.0.1").Listen("10.0.0.1:7947")
		if err != nil {
			t.Fatal(err)
		}
		g := grpc.NewServer(Codec())
		(&PeerServer{Router: new(cluster.Router), Roster: fakeRoster{}, Timeout: time.Second}).Register(g)
		go func() { _ = g.Serve(l) }()
		peers := NewPeers(network.Host("10.0.0.2"), unknown)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- peers.Run(ctx) }()
		p := peers.Peer("10.0.0.1:7947")
		for name, want := range map[string]error{
			"gone": nil, "nobody": cluster.ErrNoMember, "here": cluster.ErrPresent, "elsewhere": cluster.ErrNotApplied, "lost": cluster.ErrUnknown,
		} {
			if err := p.Remove(ctx, name); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
		hint := (*cluster.NotLeaderError)(nil)
		if err := p.Remove(ctx, "elsewhere"); !errors.As(err, &hint) || hint.Leader != "n2" {
			t.Errorf("the hint came as %v", err)
		}
		if err := p.Remove(ctx, "nobody"); err == nil || !strings.Contains(err.Error(), "not in the roster") {
			t.Errorf("the words came as %v", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		g.Stop()
	})
}

// fakeViews is a view in which n2 is on its way out and n3 is on its way in.
type fakeViews struct{ Views }

func (fakeViews) Topology() Topology {
	v := &cluster.View{Epoch: 7, Cluster: "c", Table: new(ring.Table), Roster: []cluster.Member{
		{Name: "n1", Weight: 3, Standing: ring.Steady}, {Name: "n2", Standing: ring.Leaving}, {Name: "n3", Standing: ring.Steady, Joining: true},
	}}
	for i := range v.Table.Homes {
		v.Table.Deputies[i], v.Table.Nexts[i], v.Table.Since[i] = 1, ring.None, 5
	}
	v.Table.Nexts[ring.Partition("d", "alice")], v.Table.Nexts[ring.Partition("d", "alice")^1] = 2, 2
	v.Table.Deputies[ring.Partition("d", "bob")] = ring.None
	return Topology{
		View: v, Node: "n1", Epochs: map[string]uint64{"n1": 7, "n2": 6}, Versions: map[string]string{"n1": "v1"},
		Leases: map[string]time.Duration{"n1": 1900 * time.Millisecond, "n2": 0},
	}
}

func TestTheViewTellsHowMembersStand(t *testing.T) {
	s := server(fakeAccess{})
	s.Views = fakeViews{}
	res := asking(t)(t, s, "GET", "/v1/view", "")
	var b viewBody
	if err := json.NewDecoder(res.Body).Decode(&b); err != nil || len(b.Members) != 3 {
		t.Fatalf("%d: %d members, %v", res.StatusCode, len(b.Members), err)
	}
	n1, n2, n3 := b.Members[0], b.Members[1], b.Members[2]
	if n1.Weight != 3 || n1.LeaseLeftMS == nil || *n1.LeaseLeftMS != 1900 || n1.Epoch != 7 || n1.Version != "v1" || n1.Joining || n1.Arriving != 0 {
		t.Errorf("n1: %+v", n1)
	}
	if n2.Weight != 1 || n2.LeaseLeftMS == nil || *n2.LeaseLeftMS != 0 || n2.Epoch != 6 || n2.Standing != "leaving" {
		t.Errorf("n2: %+v", n2)
	}
	if n3.LeaseLeftMS != nil || n3.Epoch != 0 || !n3.Joining || n3.Arriving != 2 {
		t.Errorf("n3: %+v", n3)
	}
}

func TestTheHomeOfAnAccountIsToldWithItsNext(t *testing.T) {
	s := server(fakeAccess{})
	s.Views = fakeViews{}
	s.Policy = func() *policy.Policy { return nil }
	for account, want := range map[string]homeBody{
		"alice": {Partition: ring.Partition("d", "alice"), Home: &placeBody{Name: "n1"}, Deputy: &placeBody{Name: "n2"}, Next: &placeBody{Name: "n3"}, Since: 5, Epoch: 7},
		"bob":   {Partition: ring.Partition("d", "bob"), Home: &placeBody{Name: "n1"}, Since: 5, Epoch: 7},
	} {
		body, _ := io.ReadAll(asking(t)(t, s, "GET", "/v1/domains/d/accounts/"+account+"/home", "").Body)
		if text, _ := json.Marshal(want); strings.TrimSpace(string(body)) != string(text) {
			t.Errorf("%s: %s, want %s", account, body, text)
		}
	}
}

// fakeBackups writes some, then fails.
type fakeBackups struct {
	text string
	err  error
}

func (f fakeBackups) Backup(_ context.Context, w io.Writer) error {
	if f.text == "" {
		return f.err
	}
	_, err := io.WriteString(w, f.text)
	return errors.Join(err, f.err)
}

func TestABackupThatFailsIsNotTakenForAWholeOne(t *testing.T) {
	s := server(fakeAccess{})
	s.Backups = fakeBackups{text: "whole"}
	if res := asking(t)(t, s, "GET", "/v1/ledger/snapshot", ""); res.StatusCode != 200 {
		t.Errorf("status %d", res.StatusCode)
	}
	s.Backups = fakeBackups{err: &cluster.NotLeaderError{Leader: "n2"}}
	res := asking(t)(t, s, "GET", "/v1/ledger/snapshot", "")
	if body, _ := io.ReadAll(res.Body); res.StatusCode != 503 || !strings.Contains(string(body), "ask n2") {
		t.Errorf("a node that does not lead: %d %s", res.StatusCode, body)
	}
	s.Backups = fakeBackups{text: strings.Repeat("half", 1<<20), err: errors.New("disk")}
	web := httptest.NewServer(s.Handler())
	defer web.Close()
	got, err := http.Get(web.URL + "/v1/ledger/snapshot")
	if err == nil {
		defer got.Body.Close()
		_, err = io.Copy(new(bytes.Buffer), got.Body)
	}
	if err == nil {
		t.Error("the half of a backup ended like a whole one")
	}
}
