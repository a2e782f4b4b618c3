package transport

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/weir-cluster/weir/policy"
)

// read returns the part of the original request that an attribute is read from, empty when it has none. A value is never
// cut or hashed to fit: two accounts that are alike at their beginning would become one, or none that a person can look up.
// The home refuses it.
func (g gateway) read(r *http.Request, a policy.HTTPAttribute) (string, error) {
	switch a.Part {
	case policy.HTTPHeader:
		return only(r.Header, a.Header)
	case policy.HTTPPath:
		uri, err := only(r.Header, g.uri[:]...)
		if err != nil || uri == "" {
			return "", err
		}
		return originalPath(uri)
	case policy.HTTPMethod:
		method, err := only(r.Header, g.method[:]...)
		if method == "" {
			method = r.Method
		}
		return method, err
	case policy.HTTPHost:
		host, err := only(r.Header, "X-Forwarded-Host")
		if host == "" {
			host = r.Host
		}
		return originalHost(host), err
	case policy.HTTPClientIP:
		return clientIP(r)
	default:
		return "", nil
	}
}

// only returns the value of the first of the headers that is there. One that came twice is an error: the gateway, the
// site and Weir might each believe another.
func only(h http.Header, names ...string) (string, error) {
	for _, name := range names {
		switch values := h.Values(name); {
		case len(values) > 1:
			return "", fmt.Errorf("%w: the header %s came %d times, expected once", policy.ErrInvalid, name, len(values))
		case len(values) == 1 && values[0] != "":
			return values[0], nil
		}
	}
	return "", nil
}

// originalPath returns the path of a request URI as the site will understand it, so that no other spelling of it evades a
// limit: without its query, decoded once, with // and dots resolved and without a last slash. A long one is cut: what it
// begins with is what a policy can match.
func originalPath(uri string) (string, error) {
	u, err := url.ParseRequestURI(uri)
	if err != nil {
		return "", fmt.Errorf("%w: the URI of the original request cannot be read", policy.ErrInvalid)
	}
	clean := path.Clean("/" + u.Path)
	end := min(len(clean), policy.AttributeValueMax)
	for end < len(clean) && end > 0 && !utf8.RuneStart(clean[end]) {
		end--
	}
	return clean[:end], nil
}

// originalHost returns a host in lower case without its port; of several that gateways added, the last.
func originalHost(host string) string {
	host = strings.TrimSpace(host[strings.LastIndexByte(host, ',')+1:])
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

// clientIP returns the address that the gateway saw: the last entry of X-Forwarded-For, which is the gateway's own, then
// X-Real-IP, then whoever asks. What is no address is nobody's.
func clientIP(r *http.Request) (string, error) {
	text := ""
	if values := r.Header.Values("X-Forwarded-For"); len(values) > 0 {
		last := values[len(values)-1]
		text = last[strings.LastIndexByte(last, ',')+1:]
	} else {
		var err error
		if text, err = only(r.Header, "X-Real-Ip"); err != nil {
			return "", err
		}
		if text == "" {
			text = r.RemoteAddr
		}
	}
	text = strings.TrimSpace(text)
	if host, _, err := net.SplitHostPort(text); err == nil {
		text = host
	}
	address, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		return "", nil
	}
	return address.Unmap().WithZone("").String(), nil
}
