package transport

import (
	"net/http"
	"strings"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/ledger"
)

type authorizeRequest struct {
	Amount     int64             `json:"amount_micros"`
	TTL        int64             `json:"ttl_ms"`
	Partial    bool              `json:"partial"`
	Order      []string          `json:"order"`
	Attributes map[string]string `json:"attributes"`
	OnExpire   string            `json:"on_expire"`
	Late       string            `json:"late"`
	Memo       string            `json:"memo"`
}

type extendRequest struct {
	Amount int64  `json:"amount_micros"`
	TTL    int64  `json:"ttl_ms"`
	Memo   string `json:"memo"`
}

type captureRequest struct {
	Amount    int64  `json:"amount_micros"`
	Final     bool   `json:"final"`
	Overshoot string `json:"overshoot"`
	Memo      string `json:"memo"`
}

type releaseRequest struct {
	Memo string `json:"memo"`
}

type refundRequest struct {
	Amount int64  `json:"amount_micros"`
	Memo   string `json:"memo"`
}

// hold answers POST /v1/accounts/{id}/holds.
func (s *HTTPServer) hold(w http.ResponseWriter, r *http.Request) {
	var b authorizeRequest
	writeLedger(s, w, r, &b, Ledger.Authorize, func(key string) (ledger.Authorize, error) {
		return authorizeOf(&weirv1.AuthorizeRequest{
			IdempotencyKey: key, Account: r.PathValue("id"), AmountMicros: b.Amount, TtlMs: b.TTL, Partial: b.Partial, Order: b.Order,
			Attributes: sorted(b.Attributes, wireAttribute), OnExpire: b.OnExpire, Late: b.Late, Memo: b.Memo,
		})
	})
}

// extend answers POST /v1/holds/{id}:extend.
func (s *HTTPServer) extend(w http.ResponseWriter, r *http.Request) {
	var b extendRequest
	writeLedger(s, w, r, &b, Ledger.Extend, func(key string) (ledger.Extend, error) {
		return extendOf(&weirv1.ExtendRequest{IdempotencyKey: key, Hold: r.PathValue("id"), AmountMicros: b.Amount, TtlMs: b.TTL, Memo: b.Memo}), nil
	})
}

// capture answers POST /v1/holds/{id}:capture.
func (s *HTTPServer) capture(w http.ResponseWriter, r *http.Request) {
	var b captureRequest
	writeLedger(s, w, r, &b, Ledger.Capture, func(key string) (ledger.Capture, error) {
		return captureOf(&weirv1.CaptureRequest{
			IdempotencyKey: key, Hold: r.PathValue("id"), AmountMicros: b.Amount, Final: b.Final, Overshoot: b.Overshoot, Memo: b.Memo,
		})
	})
}

// release answers POST /v1/holds/{id}:release.
func (s *HTTPServer) release(w http.ResponseWriter, r *http.Request) {
	var b releaseRequest
	writeLedger(s, w, r, &b, Ledger.Release, func(key string) (ledger.Release, error) {
		return ledger.Release{Key: key, Hold: r.PathValue("id"), Memo: b.Memo}, nil
	})
}

// refund answers POST /v1/charges/{id}:refund.
func (s *HTTPServer) refund(w http.ResponseWriter, r *http.Request) {
	var b refundRequest
	writeLedger(s, w, r, &b, Ledger.Refund, func(key string) (ledger.Refund, error) {
		return refundOf(&weirv1.RefundRequest{IdempotencyKey: key, Charge: r.PathValue("id"), AmountMicros: b.Amount, Memo: b.Memo}), nil
	})
}

// verbs returns routes with those like POST /v1/holds/{id}:capture gathered under /v1/holds/{id}, as a mux takes nothing behind
// a name. The verb is what stands behind the last colon: an id may have colons itself.
func verbs(routes map[string]http.HandlerFunc) map[string]http.HandlerFunc {
	out := make(map[string]http.HandlerFunc, len(routes))
	gathered := make(map[string]map[string]http.HandlerFunc)
	for pattern, handle := range routes {
		before, verb, is := strings.Cut(pattern, "}:")
		if !is {
			out[pattern] = handle
			continue
		}
		path := strings.TrimPrefix(before, http.MethodPost+" ") + "}"
		if gathered[path] == nil {
			gathered[path] = make(map[string]http.HandlerFunc)
		}
		gathered[path][verb] = handle
	}
	for path, byVerb := range gathered {
		out[path] = func(w http.ResponseWriter, r *http.Request) {
			id := r.PathValue("id")
			at := strings.LastIndexByte(id, ':')
			handle, known := byVerb[id[at+1:]]
			switch {
			case at < 1 || !known:
				noRoute(w, r)
			case r.Method != http.MethodPost:
				noMethod(w, r, http.MethodPost)
			default:
				r.SetPathValue("id", id[:at])
				handle(w, r)
			}
		}
	}
	return out
}
