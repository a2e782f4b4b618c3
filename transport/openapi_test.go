package transport

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/weir-cluster/weir/api"
)

func TestTheDocumentIsServed(t *testing.T) {
	ask := asking(t)
	res := ask(t, server(fakeAccess{}), "GET", "/v1/openapi.yaml", "")
	if text, _ := io.ReadAll(res.Body); string(text) != string(api.OpenAPI()) {
		t.Errorf("%d bytes, want the document", len(text))
	}
}

// Every known path answers a method that it does not take with what it does take.
func TestAnUnknownMethodIsToldTheOnesThereAre(t *testing.T) {
	ask := asking(t)
	s := server(fakeAccess{check: allow})
	takes := map[string][]string{}
	for route := range s.routes() {
		method, path, _ := strings.Cut(route, " ")
		if path = strings.NewReplacer("{version}", "7", "{", "", "}", "").Replace(path); method == "GET" {
			takes[path] = append(takes[path], "HEAD")
		}
		takes[path] = append(takes[path], method)
	}
	for path, want := range takes {
		res := ask(t, s, "BREW", path, "")
		allow := strings.Split(res.Header.Get("Allow"), ", ")
		slices.Sort(allow)
		slices.Sort(want)
		if res.StatusCode != http.StatusMethodNotAllowed || !slices.Equal(allow, want) {
			t.Errorf("BREW %s: status %d, Allow %v, want 405 and %v", path, res.StatusCode, allow, want)
		}
	}
	if res := ask(t, s, "GET", "/v1/check", ""); res.StatusCode != 405 || res.Header.Get("Allow") != "POST" {
		t.Errorf("GET /v1/check: %d, Allow %q", res.StatusCode, res.Header.Get("Allow"))
	}
}

// HEAD is what GET is; the server of the standard library leaves the body out.
func TestHeadIsAnsweredWhereGetIs(t *testing.T) {
	h := server(fakeAccess{check: allow}).Handler()
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/v1/openapi.yaml", "/v1/nothing"} {
		get, head := httptest.NewRecorder(), httptest.NewRecorder()
		h.ServeHTTP(get, httptest.NewRequest("GET", path, nil))
		h.ServeHTTP(head, httptest.NewRequest("HEAD", path, nil))
		if head.Code != get.Code || head.Header().Get("Content-Type") != get.Header().Get("Content-Type") {
			t.Errorf("HEAD %s: %d %v, GET %d %v", path, head.Code, head.Header(), get.Code, get.Header())
		}
	}
}
