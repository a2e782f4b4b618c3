package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/ring"
)

// behindNode is a node that goes by version 4 after being asked for its view some times; 0 is never.
func behindNode(t *testing.T, after int64) (addr string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/view" {
			t.Errorf("asked %s", r.URL.Path)
		}
		v := client.View{PolicyVersion: 3}
		if n := asked.Add(1); after > 0 && n > after {
			v.PolicyVersion = 4
		}
		writeView(t, w, v)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), asked
}

func writeView(t *testing.T, w http.ResponseWriter, v client.View) {
	t.Helper()
	v.Hash, v.Partitions, v.Homes, v.Deputies = "xxhash64", ring.Partitions, make([]uint16, ring.Partitions), make([]uint16, ring.Partitions)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		t.Error(err)
	}
}

// applyingNode agrees on version 4 of anything, and tells of the members.
func applyingNode(t *testing.T, members ...client.Member) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/view" {
			if members == nil {
				http.Error(w, "no", http.StatusServiceUnavailable)
				return
			}
			writeView(t, w, client.View{PolicyVersion: 4, Members: members})
			return
		}
		fmt.Fprint(w, `{"version":4}`)
	}))
	t.Cleanup(s.Close)
	return "--addr=" + s.URL
}

func TestAChangedPolicyIsAwaitedOnEveryNodeThatIsAlive(t *testing.T) {
	t.Parallel()
	path := file(t, "p.yaml", "version: 1\n")
	for _, command := range [][]string{{"policy", "apply", path}, {"policy", "rollback", "2"}} {
		soon, asked := behindNode(t, 3)
		never, neverAsked := behindNode(t, 0)
		addr := applyingNode(t, client.Member{Name: "n2", HTTP: soon, Alive: true}, client.Member{Name: "n3", HTTP: never})
		o := weir(t, slices.Concat(command, []string{addr, "--wait=60s"})...)
		o.want(t, exitOK, "in force as version 4")
		if n := asked.Load(); n != 4 || o.err != "" || neverAsked.Load() != 0 {
			t.Errorf("%v: returned when n2 had been asked %d times, and n3, which is not alive, %d times; stderr %q", command, n, neverAsked.Load(), o.err)
		}
		addr = applyingNode(t, client.Member{Name: "n2", HTTP: soon, Alive: true}, client.Member{Name: "n3", HTTP: never, Alive: true}, client.Member{Name: "n4", Alive: true})
		o = weir(t, slices.Concat(command, []string{addr, "--wait=400ms", "-o", "json"})...)
		o.want(t, exitOK, "version 4 is agreed; after 400ms these nodes do not go by it yet, or cannot be reached from here: n3, n4")
		var v policyVersion
		if err := json.Unmarshal([]byte(o.out), &v); err != nil || v.Version != 4 || !slices.Equal(v.Behind, []string{"n3", "n4"}) {
			t.Errorf("%v as JSON: %+v, %v", command, v, err)
		}
		was := neverAsked.Load()
		if o := weir(t, slices.Concat(command, []string{addr, "--wait=0s"})...); o.code != exitOK || o.err != "" || neverAsked.Load() != was {
			t.Errorf("%v without waiting: %+v", command, o)
		}
		weir(t, slices.Concat(command, []string{applyingNode(t)})...).want(t, exitOK, "in force as version 4", "cannot be told")
	}
}
