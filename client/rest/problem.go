package rest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Problem is an error that a node answered (RFC 9457, application/problem+json): it understood that it
// was asked something, and did not do it. Test for it with errors.As.
type Problem struct {
	Type   string    `json:"type"`
	Title  string    `json:"title"`
	Status int       `json:"status"` // HTTP status
	Detail string    `json:"detail"`
	Reason string    `json:"reason,omitempty"` // the enumerated code
	Errors []Finding `json:"errors,omitempty"` // what is wrong with a policy, in the order of its lines

	from string
}

// Finding is one thing that is wrong with a policy, and where; lines and columns count from 1.
type Finding struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

// Error says what was asked of whom, the status and the detail.
func (p *Problem) Error() string {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	if text == "" {
		text = strings.ToLower(http.StatusText(p.Status))
	}
	return fmt.Sprintf("%s: status %d: %s", p.from, p.Status, text)
}

// problem makes an error of an answer that is not a success; one that is no problem+json keeps a short
// beginning of its body as the detail.
func (r reply) problem() error {
	p := &Problem{}
	if r.media != "application/problem+json" || json.Unmarshal(r.body, p) != nil {
		*p = Problem{Title: http.StatusText(r.status), Detail: excerpt(r.body)}
	}
	p.Status = r.status
	p.from = r.from
	return p
}

const excerptBytesMax = 200

func excerpt(body []byte) string {
	if len(body) > excerptBytesMax {
		body = append(body[:excerptBytesMax:excerptBytesMax], "..."...)
	}
	return strings.ToValidUTF8(strings.TrimSpace(string(body)), "?")
}
