package main

import (
	"net/http"
	"testing"

	"github.com/weir-cluster/weir/api/apitest"
)

// judged has next answer and holds every answer to api/openapi.yaml.
func judged(t *testing.T, next http.RoundTripper) http.RoundTripper {
	t.Helper()
	p, err := apitest.Load()
	if err != nil {
		t.Fatal(err)
	}
	return p.Transport(next, func(err error) { t.Errorf("not as api/openapi.yaml promises: %v", err) })
}
