package transport

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/ledger"
)

// typePrefix stands before the movement in the type of a CloudEvent.
const typePrefix = "weir.ledger."

// cloudEvent is an event in the envelope of CloudEvents 1.0, structured JSON. Source and id name it for ever; sequence is that
// of the sequence extension: padded, so that the order of the texts is the order of the events.
type cloudEvent struct {
	SpecVersion string    `json:"specversion"`
	ID          string    `json:"id"`
	Source      string    `json:"source"`
	Type        string    `json:"type"`
	Subject     string    `json:"subject,omitempty"`
	Time        time.Time `json:"time"`
	ContentType string    `json:"datacontenttype"`
	Sequence    string    `json:"sequence"`
	Data        eventBody `json:"data"`
}

// eventBody is the data of a CloudEvent.
type eventBody struct {
	Seq          uint64          `json:"seq"`
	Account      string          `json:"account"`
	AccountSeq   uint64          `json:"account_seq"`
	Prev         uint64          `json:"prev,omitempty"`
	Movement     string          `json:"movement"`
	Key          string          `json:"idempotency_key,omitempty"`
	Memo         string          `json:"memo,omitempty"`
	Grant        string          `json:"grant,omitempty"`
	Hold         string          `json:"hold,omitempty"`
	Charge       string          `json:"charge,omitempty"`
	Postings     []postingBody   `json:"postings"`
	BalanceAfter int64           `json:"balance_after_micros"`
	Forgiven     int64           `json:"forgiven_micros,omitempty"`
	WrittenOff   int64           `json:"written_off_micros,omitempty"`
	Late         bool            `json:"late,omitempty"`
	Index        uint64          `json:"index"`
	Term         uint64          `json:"term"`
	Attributes   *attributesBody `json:"attributes,omitempty"`
}

type attributesBody struct {
	Plan       string            `json:"plan"`
	Labels     map[string]string `json:"labels"`
	UseCredits bool              `json:"use_credits"`
	Overdraft  int64             `json:"overdraft_micros"`
	Blocked    bool              `json:"blocked"`
}

func toCloudEvent(source string, e *ledger.Event) cloudEvent {
	b := eventBody{
		Seq: e.Seq, Account: e.Account, AccountSeq: e.AccountSeq, Prev: e.Prev, Movement: e.Movement.String(), Key: e.Key, Memo: e.Memo,
		Grant: e.Grant, Hold: e.Hold, Charge: e.Charge, Postings: make([]postingBody, len(e.Postings)),
		BalanceAfter: int64(e.BalanceAfter), Forgiven: int64(e.Forgiven), WrittenOff: int64(e.WrittenOff), Late: e.Late,
		Index: e.Index, Term: e.Term,
	}
	for i, p := range e.Postings {
		b.Postings[i] = postingBody{Book: p.Book.String(), Grant: p.Grant, Amount: int64(p.Amount)}
	}
	if a := e.Attributes; a != nil {
		b.Attributes = &attributesBody{a.Plan, make(map[string]string, len(a.Labels)), a.UseCredits, int64(a.Overdraft), a.Blocked}
		for _, l := range a.Labels {
			b.Attributes.Labels[l.Name] = l.Value
		}
	}
	return cloudEvent{
		SpecVersion: "1.0", ID: strconv.FormatUint(e.Seq, 10), Source: source, Type: typePrefix + b.Movement, Subject: e.Account,
		Time: e.Wall, ContentType: mediaJSON, Sequence: fmt.Sprintf("%020d", e.Seq), Data: b,
	}
}

// encodeCloudEvent returns the JSON of an event in its envelope, on one line. It cannot fail: every field has JSON.
func encodeCloudEvent(source string, e *ledger.Event) []byte {
	b, err := json.Marshal(toCloudEvent(source, e))
	if err != nil {
		panic(fmt.Sprintf("transport: event %d: %v", e.Seq, err))
	}
	return b
}

func toEvent(e *ledger.Event) *weirv1.Event {
	out := &weirv1.Event{
		Seq: e.Seq, Account: e.Account, AccountSeq: e.AccountSeq, Prev: e.Prev, Movement: e.Movement.String(), IdempotencyKey: e.Key,
		Memo: e.Memo, Grant: e.Grant, Hold: e.Hold, Charge: e.Charge, BalanceAfterMicros: int64(e.BalanceAfter),
		ForgivenMicros: int64(e.Forgiven), WrittenOffMicros: int64(e.WrittenOff), Late: e.Late, Index: e.Index, Term: e.Term,
		Time: toStamp(e.Wall), Postings: make([]*weirv1.Posting, len(e.Postings)),
	}
	for i, p := range e.Postings {
		out.Postings[i] = &weirv1.Posting{Book: p.Book.String(), Grant: p.Grant, AmountMicros: int64(p.Amount)}
	}
	if a := e.Attributes; a != nil {
		out.Attributes = &weirv1.AccountAttributes{
			Plan: a.Plan, UseCredits: a.UseCredits, OverdraftMicros: int64(a.Overdraft), Blocked: a.Blocked,
		}
		for _, l := range a.Labels {
			out.Attributes.Labels = append(out.Attributes.Labels, &weirv1.Label{Name: l.Name, Value: l.Value})
		}
	}
	return out
}
