// Package rest talks to a Weir cluster over its HTTP/JSON API.
//
// A Client knows one or more addresses and asks them in order: any node decides for any account, it
// passes the question on to the account's home. A denial is a Decision, not an error; an error means
// that nothing was decided, or that nobody knows, and says which address was tried and what may help.
package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weir-cluster/weir/client"
)

// Bounds of a client.
const (
	addressesMax     = 64
	replyBytesMax    = 8 << 20 // a view of 100 members and the largest policy (1 MiB) fit several times
	connectTimeout   = time.Second
	idleConnsPerHost = 16
)

// Config says where the cluster is. Addr is the only field without a default.
type Config struct {
	// Addr lists the HTTP addresses of nodes, host:port or a URL, separated by commas. They are asked in
	// this order; the next one only when that cannot charge twice (see Client).
	Addr string
	// Timeout bounds one call over all addresses. Zero means the default, 5 s.
	Timeout time.Duration
	// HTTPClient sends the requests. Nil means one of the client's own, which gives up on an address that
	// does not accept a connection within 1 s and follows no redirect.
	HTTPClient *http.Client
}

// DefaultConfig is a node of `weir dev` on this machine.
func DefaultConfig() Config {
	return Config{Addr: "127.0.0.1:8080", Timeout: 5 * time.Second}
}

// Client asks a cluster. It is safe for concurrent use and starts nothing.
//
// Each call sends its request to one address after the other until one answers. A request that could have
// an effect and carries no idempotency key is sent once only: it moves on to the next address when the
// connection could not be made, and not after that.
type Client struct {
	nodes   []string // base URLs without a trailing slash
	timeout time.Duration
	http    *http.Client
}

// New returns a client of the nodes at c.Addr, or an error that names the address it cannot use.
func New(c Config) (*Client, error) {
	if c.Timeout < 0 {
		return nil, fmt.Errorf("timeout %v: it must be positive", c.Timeout)
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultConfig().Timeout
	}
	nodes, err := baseURLs(c.Addr)
	if err != nil {
		return nil, err
	}
	if c.HTTPClient == nil {
		c.HTTPClient = ownHTTPClient()
	}
	return &Client{nodes: nodes, timeout: c.Timeout, http: c.HTTPClient}, nil
}

func ownHTTPClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: connectTimeout}).DialContext,
			MaxIdleConnsPerHost: idleConnsPerHost,
			IdleConnTimeout:     time.Minute,
			ForceAttemptHTTP2:   true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func baseURLs(list string) ([]string, error) {
	var nodes []string
	for addr := range strings.SplitSeq(list, ",") {
		addr = strings.TrimSpace(addr)
		if addr == "" {
			continue
		}
		text := addr
		if !strings.Contains(text, "://") {
			text = "http://" + text
		}
		u, err := url.Parse(text)
		if err != nil || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" ||
			(u.Scheme != "http" && u.Scheme != "https") {
			return nil, fmt.Errorf("address %q: expected host:port or http(s)://host:port", addr)
		}
		nodes = append(nodes, u.Scheme+"://"+u.Host)
	}
	if len(nodes) == 0 || len(nodes) > addressesMax {
		return nil, fmt.Errorf("address list %q: expected 1 to %d of host:port, separated by commas", list, addressesMax)
	}
	return nodes, nil
}

// call is one request, whichever node it goes to.
type call struct {
	method, path string
	body         []byte
	contentType  string // of the body
	key          string // Idempotency-Key
	ifMatch      string // quoted, or empty
	repeatable   bool   // sending it twice does no more than sending it once
}

// reply is what a node answered, with its whole body.
type reply struct {
	from   string // the request in words, for errors
	status int
	etag   string
	next   string // X-Weir-Next
	body   []byte
	media  string
}

func (c *Client) send(ctx context.Context, q call) (reply, error) {
	return c.sendWithin(ctx, c.timeout, q)
}

func (c *Client) sendWithin(ctx context.Context, timeout time.Duration, q call) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var failed error
	reached := false
	for _, node := range c.nodes {
		r, sent, err := c.try(ctx, node, q)
		if err == nil {
			return r, nil
		}
		reached = reached || sent
		if failed == nil {
			failed = err
		} else {
			failed = fmt.Errorf("%w; %w", failed, err)
		}
		if ctx.Err() != nil || (reached && !q.repeatable) {
			break
		}
	}
	switch {
	case !reached:
		return reply{}, fmt.Errorf("%w: %w (is a node running there? start one with `weir dev`)", client.ErrUnreachable, failed)
	case errors.Is(failed, context.DeadlineExceeded):
		return reply{}, fmt.Errorf("%w (no answer within %v: ask another node or allow more time)", failed, timeout)
	default:
		return reply{}, failed
	}
}

// try asks one node. sent says that the node may have got the request: net/http sends one that can be repeated again by
// itself when a kept connection breaks, so that it may have been sent although the error is that of a dial.
func (c *Client) try(ctx context.Context, node string, q call) (r reply, sent bool, err error) {
	var wrote atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { wrote.Store(true) }})
	r, err = c.once(ctx, node, q)
	return r, wrote.Load() || err != nil && !neverConnected(err), err
}

func (c *Client) once(ctx context.Context, node string, q call) (reply, error) {
	from := q.method + " " + node + q.path
	h, err := http.NewRequestWithContext(ctx, q.method, node+q.path, bytes.NewReader(q.body))
	if err != nil {
		return reply{}, fmt.Errorf("%s: %w", from, err)
	}
	for name, value := range map[string]string{"Content-Type": q.contentType, "Idempotency-Key": q.key, "If-Match": q.ifMatch} {
		if value != "" {
			h.Header.Set(name, value)
		}
	}
	resp, err := c.http.Do(h)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // its own prefix repeats the request
		}
		return reply{}, fmt.Errorf("%s: %w", from, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, replyBytesMax+1))
	if err != nil {
		return reply{}, fmt.Errorf("%s: read the answer: %w", from, err)
	}
	if len(body) > replyBytesMax {
		return reply{}, fmt.Errorf("%s: the answer is longer than %d bytes", from, replyBytesMax)
	}
	return reply{from: from, status: resp.StatusCode, etag: resp.Header.Get("ETag"), next: resp.Header.Get("X-Weir-Next"), body: body, media: mediaOf(resp)}, nil
}

func mediaOf(resp *http.Response) string {
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return media
}

func neverConnected(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func (r reply) ok() bool { return r.status >= 200 && r.status < 300 }

// decode reads a JSON body; fields this client does not know are newer than it and left out.
func decode[T any](r reply) (T, error) {
	var v T
	if err := json.Unmarshal(r.body, &v); err != nil {
		return v, fmt.Errorf("%s: status %d, read the answer as JSON: %w (is that a Weir node?)", r.from, r.status, err)
	}
	return v, nil
}

// post makes a call that carries v as JSON.
func post[T any](path string, v T) (call, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return call{}, fmt.Errorf("write the request to %s as JSON: %w", path, err)
	}
	return call{method: http.MethodPost, path: path, body: body, contentType: "application/json"}, nil
}
