package transport

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-cluster/weir/policy"
)

const mediaYAML = "application/yaml"

type versionBody struct {
	Version uint64 `json:"version"`
}

type historyBody struct {
	Versions []pastBody `json:"versions"`
}

type pastBody struct {
	Version uint64    `json:"version"`
	At      time.Time `json:"at,omitzero"`
	Note    string    `json:"note,omitempty"`
	Bytes   int       `json:"bytes"`
	Hash    string    `json:"hash"`
}

// policy answers GET /v1/policy with the YAML in force and its version as ETag.
func (s *HTTPServer) policy(w http.ResponseWriter, _ *http.Request) {
	version, text := s.Policies.Document()
	if version == 0 {
		missing(w, "No policy", "the cluster has no policy yet: put one with PUT /v1/policy")
		return
	}
	writePolicy(w, version, text)
}

func writePolicy(w http.ResponseWriter, version uint64, text []byte) {
	w.Header().Set("Content-Type", mediaYAML)
	w.Header().Set("ETag", etag(version))
	_, _ = w.Write(text)
}

func etag(version uint64) string { return strconv.Quote(strconv.FormatUint(version, 10)) }

func missing(w http.ResponseWriter, title, detail string) {
	write(w, http.StatusNotFound, mediaProblem, problem{
		Type: typeOurs + wordNotFound, Title: title, Status: http.StatusNotFound, Reason: wordNotFound, Detail: detail,
	})
}

// putPolicy answers PUT /v1/policy. The note for the history comes with the query: the body is the policy.
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
	s.replacePolicy(w, r, func(ctx context.Context) (uint64, error) {
		return s.Policies.Put(ctx, policyName(""), text, expect, r.URL.Query().Get("note"))
	})
}

// replacePolicy carries out a change of the policy and answers with the version that is in force now.
func (s *HTTPServer) replacePolicy(w http.ResponseWriter, r *http.Request, do func(context.Context) (uint64, error)) {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	version, err := do(ctx)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("ETag", etag(version))
	write(w, http.StatusOK, mediaJSON, versionBody{version})
}

// history answers GET /v1/policy/history.
func (s *HTTPServer) history(w http.ResponseWriter, _ *http.Request) {
	all := s.Versions.History()
	b := historyBody{Versions: make([]pastBody, len(all))}
	for i, v := range all {
		b.Versions[i] = pastBody{v.Version, v.At, v.Note, v.Bytes, v.Hash}
	}
	write(w, http.StatusOK, mediaJSON, b)
}

// policyVersion answers GET /v1/policy/{version}.
func (s *HTTPServer) policyVersion(w http.ResponseWriter, r *http.Request) {
	version, err := strconv.ParseUint(r.PathValue("version"), 10, 63)
	if err != nil || version == 0 {
		fail(w, fmt.Errorf("%w: version %q, expected a number from 1", policy.ErrInvalid, r.PathValue("version")))
		return
	}
	kept := s.Versions.History()
	if !slices.ContainsFunc(kept, func(v policy.Version) bool { return v.Version == version }) {
		missing(w, "No such version", fmt.Sprintf("policy version %d is not kept, %d others are: see GET /v1/policy/history", version, len(kept)))
		return
	}
	text, err := s.Versions.TextOf(version)
	if err != nil {
		fail(w, err)
		return
	}
	writePolicy(w, version, text)
}

// rollback answers POST /v1/policy:rollback.
func (s *HTTPServer) rollback(w http.ResponseWriter, r *http.Request) {
	var b versionBody
	expect, err := ifMatch(r.Header)
	if err == nil {
		err = read(w, r, bodyMax, &b)
	}
	if err != nil {
		fail(w, err)
		return
	}
	s.replacePolicy(w, r, func(ctx context.Context) (uint64, error) { return s.Versions.Rollback(ctx, b.Version, expect) })
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
