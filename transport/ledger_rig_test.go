package transport

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/ledger"
)

// replica is a machine and its log: what a cluster of one is to the ledger.
type replica struct {
	mu      sync.Mutex
	machine *ledger.Machine
	index   uint64
	now     time.Time
	elapsed time.Duration
	read    ledger.Read // the last one that was asked for
}

func (r *replica) Propose(_ context.Context, command []byte) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.index++
	return r.machine.Apply(ledger.Stamp{Term: 3, Index: r.index, Wall: r.now, Elapsed: r.elapsed}, command)
}

func (r *replica) Query(_ context.Context, query []byte, read ledger.Read) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read = read
	return r.machine.Query(query), nil
}

// pages is a journal in memory.
type pages map[uint64]string

func (p pages) Append(seq uint64, event []byte) error {
	p[seq] = string(event)
	return nil
}

func (p pages) Read(seq uint64) ([]byte, error) {
	if e, is := p[seq]; is {
		return []byte(e), nil
	}
	return nil, fmt.Errorf("event %d: %w", seq, ledger.ErrGone)
}

func (p pages) Sync() error { return nil }

// bank is a ledger behind both of its doors.
type bank struct {
	t       *testing.T
	replica *replica
	events  pages
	web     *HTTPServer
	rpc     *LedgerServer
	ask     asker
}

// openBank returns a bank in which alice has one promo credit, and half of a paid one.
func openBank(t *testing.T) *bank {
	t.Helper()
	events := pages{}
	config := ledger.DefaultConfig()
	config.Journal = events
	r := &replica{machine: ledger.NewMachine(config), now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	b := &bank{t: t, replica: r, events: events, web: server(fakeAccess{}), ask: asking(t)}
	b.web.Ledger = ledger.NewReading(r, r)
	b.rpc = &LedgerServer{Ledger: b.web.Ledger, Timeout: time.Second}
	b.write("POST /v1/accounts", "open", `{"id":"alice","plan":"free","use_credits":true,"overdraft_micros":200000,"labels":{"tier":"gold"}}`)
	b.write("POST /v1/accounts/alice/grants", "promo", `{"kind":"promo","amount_micros":1000000}`)
	b.write("POST /v1/accounts/alice/grants", "paid", `{"kind":"credit","amount_micros":500000}`)
	return b
}

// send makes a call and returns its status, its headers and its body in T.
func send[T any](b *bank, route, key, body string) (int, http.Header, T) {
	b.t.Helper()
	method, path, _ := strings.Cut(route, " ")
	var headers []string
	if key != "" {
		headers = []string{"Idempotency-Key", key}
	}
	res := b.ask(b.t, b.web, method, path, body, headers...)
	var v T
	if err := json.NewDecoder(res.Body).Decode(&v); err != nil {
		b.t.Fatalf("%s: %v", route, err)
	}
	return res.StatusCode, res.Header, v
}

// write makes a write that must be done.
func (b *bank) write(route, key, body string) receiptBody {
	b.t.Helper()
	code, _, r := send[receiptBody](b, route, key, body)
	if code != http.StatusOK || r.Outcome != "done" {
		b.t.Fatalf("%s %s: %d %+v", route, body, code, r)
	}
	return r
}

// account reads alice.
func (b *bank) account() accountBody {
	b.t.Helper()
	code, _, a := send[accountBody](b, "GET /v1/accounts/alice", "", "")
	if code != http.StatusOK {
		b.t.Fatalf("alice: %d", code)
	}
	return a
}

// keyAt is a UUIDv7 that was made some time before or after the ledger's now.
func (b *bank) keyAt(after time.Duration) string {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], uint64(b.replica.now.Add(after).UnixMilli())<<16)
	id[6], id[8] = 0x70, 0x80
	return id.String()
}

// wordOf is the word of a gRPC error, and its message.
func wordOf(err error) (word, message string) {
	for _, d := range status.Convert(err).Details() {
		if d, is := d.(*errdetails.ErrorInfo); is {
			word = d.GetReason()
		}
	}
	return word, status.Convert(err).Message()
}

// later is a call of LedgerService that is still to be given its context.
type later func(context.Context) (*weirv1.Receipt, error)

// with binds a request to a method of LedgerService.
func with[R any](method func(context.Context, R) (*weirv1.Receipt, error), r R) later {
	return func(ctx context.Context) (*weirv1.Receipt, error) { return method(ctx, r) }
}

// decoded reads a body in T.
func decoded[T any](t *testing.T, res *http.Response) T {
	t.Helper()
	var v T
	if err := json.NewDecoder(res.Body).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}
