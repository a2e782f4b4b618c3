package transport

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

// secretPrefix stands before the base64 of a secret, as the Standard Webhooks specification has it.
const secretPrefix = "whsec_"

// Bounds of a webhook's secret, in bytes, and of how many it may have at once.
const (
	secretMin  = 24
	secretMax  = 64
	secretsMax = 4
)

// ParseSecret reads a secret: whsec_ and the base64 of 24 to 64 bytes.
func ParseSecret(text string) ([]byte, error) {
	coded, ok := strings.CutPrefix(text, secretPrefix)
	b, err := base64.StdEncoding.DecodeString(coded)
	if !ok || err != nil || len(b) < secretMin || len(b) > secretMax {
		return nil, fmt.Errorf("%w: a webhook's secret: expected %s and the base64 of %d to %d random bytes", ledger.ErrInvalid, secretPrefix, secretMin, secretMax)
	}
	return b, nil
}

// sign sets the headers of Standard Webhooks: webhook-id, which is the same each time that a body is tried; webhook-timestamp, in
// Unix seconds, of this try; and webhook-signature, one "v1,BASE64" for each secret, with a space between them.
//
// A receiver checks that the timestamp is within five minutes of its clock, computes HMAC-SHA256 with its secret over
//
//	webhook-id + "." + webhook-timestamp + "." + body
//
// and compares its base64, in constant time, with what follows "v1," in each part of webhook-signature: one must be equal.
// While a secret is replaced both sign, so that receivers can be changed one after the other.
func sign(h http.Header, secrets [][]byte, id string, at time.Time, body []byte) {
	stamp := strconv.FormatInt(at.Unix(), 10)
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		mac := hmac.New(sha256.New, secret)
		_, _ = fmt.Fprintf(mac, "%s.%s.", id, stamp)
		_, _ = mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	h.Set("webhook-id", id)
	h.Set("webhook-timestamp", stamp)
	h.Set("webhook-signature", strings.Join(signatures, " "))
}
