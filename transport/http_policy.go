package transport

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/weir-cluster/weir/policy"
)

type versionBody struct {
	Version uint64 `json:"version"`
}

// policy answers GET /v1/policy with the YAML in force and its version as ETag.
func (s *HTTPServer) policy(w http.ResponseWriter, _ *http.Request) {
	version, text := s.Policies.Document()
	if version == 0 {
		write(w, http.StatusNotFound, mediaProblem, problem{
			Type: typeOurs + wordNotFound, Title: "No policy", Status: http.StatusNotFound, Reason: wordNotFound,
			Detail: "the cluster has no policy yet: put one with PUT /v1/policy",
		})
		return
	}
	w.Header().Set("Content-Type", "application/yaml")
	w.Header().Set("ETag", strconv.Quote(strconv.FormatUint(version, 10)))
	_, _ = w.Write(text)
}

// putPolicy answers PUT /v1/policy.
func (s *HTTPServer) putPolicy(w http.ResponseWriter, r *http.Request) {
	expect, err := ifMatch(r.Header)
	if err != nil {
		fail(w, err)
		return
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, policyMax))
	if err != nil {
		fail(w, fmt.Errorf("%w: read the policy: %w", policy.ErrInvalid, err))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	version, err := s.Policies.Put(ctx, policyName(""), text, expect)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("ETag", strconv.Quote(strconv.FormatUint(version, 10)))
	write(w, http.StatusOK, mediaJSON, versionBody{version})
}

// ifMatch reads the version a change expects: a quoted number, or any when there is none.
func ifMatch(h http.Header) (int64, error) {
	tag := strings.TrimSpace(h.Get("If-Match"))
	if tag == "" || tag == "*" {
		return policy.AnyVersion, nil
	}
	version, err := strconv.ParseInt(strings.Trim(tag, `"`), 10, 64)
	if err != nil || version < 0 {
		return 0, fmt.Errorf(`%w: If-Match %s, expected a version such as "3"`, policy.ErrInvalid, tag)
	}
	return version, nil
}
