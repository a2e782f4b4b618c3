package transport

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/weir-cluster/weir/policy"
)

// Problem types (RFC 9457). The first three are of draft-ietf-httpapi-ratelimit-headers-11; there is none for
// credit, so those are ours.
const (
	typeQuota    = "https://iana.org/assignments/http-problem-types#quota-exceeded"
	typeCapacity = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
	typeAbnormal = "https://iana.org/assignments/http-problem-types#abnormal-usage-detected"
	typeOurs     = "https://weir-cluster.github.io/problems/"
)

// problem is the body of an error: application/problem+json.
type problem struct {
	Type   string    `json:"type"`
	Title  string    `json:"title"`
	Status int       `json:"status"`
	Detail string    `json:"detail"`
	Reason string    `json:"reason"`
	Errors []mistake `json:"errors,omitempty"`
	Oldest uint64    `json:"oldest,omitempty"` // where to go on, when events are gone
}

// mistake is one thing wrong with a policy.
type mistake struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

func toProblem(err error) problem {
	k := classify(err)
	p := problem{Type: typeOurs + k.word, Title: k.title, Status: k.status, Detail: err.Error(), Reason: k.word}
	p.Oldest, _ = oldestOf(err)
	var found policy.Mistakes
	if errors.As(err, &found) {
		for _, m := range found {
			p.Errors = append(p.Errors, mistake{m.File, m.Line, m.Column, m.Message})
		}
	}
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		p.Status, p.Title = http.StatusRequestEntityTooLarge, "Body too large"
		p.Detail = fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit)
	}
	return p
}

// refusalType returns the problem type and title of a refusing decision, by the status it is answered with. A block
// is abnormal use only at a door that must call it 429; at 403 nobody knows why the operator blocked.
func refusalType(reason policy.Reason, status int) (string, string) {
	switch {
	case status == http.StatusTooManyRequests && reason == policy.Blocked:
		return typeAbnormal, "Request cannot be satisfied due to abnormal usage detected"
	case status == http.StatusTooManyRequests:
		return typeQuota, "Request cannot be satisfied as assigned quota has been exceeded"
	case status == http.StatusServiceUnavailable:
		return typeCapacity, "Request cannot be satisfied due to temporary reduced capacity"
	case status == http.StatusPaymentRequired:
		return typeOurs + reason.String(), "Credits are used up"
	default:
		return typeOurs + reason.String(), "Access is not allowed"
	}
}

// fail answers with a problem. 503 always says when to come back.
func fail(w http.ResponseWriter, err error) {
	p := toProblem(err)
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(1))
	}
	write(w, p.Status, mediaProblem, p)
}

const (
	mediaJSON    = "application/json"
	mediaProblem = "application/problem+json"
	mediaBackup  = "application/octet-stream"
)

// write answers with a JSON body. A caller that has gone away is nobody's error.
func write[T body](w http.ResponseWriter, status int, media string, v T) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "encode answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}

// body is what is ever answered as JSON.
type body interface {
	problem | authProblem | decisionBody | batchBody | settledBody | viewBody | receiptBody | accountBody | versionBody | historyBody |
		besideBody | revisionBody | standingBody | entriesBody | ledgerBody | removedBody | homeBody | lettersBody | DeadLetter | cursorBody
}
