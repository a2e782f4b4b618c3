package transport

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/weir-cluster/weir/api/apitest"
)

// promised returns what holds an answer to api/openapi.yaml.
func promised(tb testing.TB) func(r *http.Request, sent []byte, res *http.Response) error {
	tb.Helper()
	return promise(tb).Check
}

func promise(tb testing.TB) *apitest.Promise {
	tb.Helper()
	p, err := apitest.Load()
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestTheDocumentHasExactlyTheRoutesThatAreServed(t *testing.T) {
	served := make([]string, 0)
	for route := range server(fakeAccess{}).routes() {
		served = append(served, route)
	}
	for path := range server(fakeAccess{}).doors() {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} { // any, and these have a name in OpenAPI
			served = append(served, method+" "+path)
		}
	}
	documented := promise(t).Routes()
	slices.Sort(served)
	slices.Sort(documented)
	if !slices.Equal(served, documented) {
		t.Errorf("served     %s\ndocumented %s", strings.Join(served, "\n           "), strings.Join(documented, "\n           "))
	}
}
