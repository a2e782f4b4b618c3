package transport

import (
	"context"
	"io"
	"net/http"
	"time"
)

// Backups copies the agreed state.
type Backups interface {
	// Backup writes a backup of the ledger and the policy, as group.Group does: the leader can. Its errors are cluster's.
	Backup(ctx context.Context, w io.Writer) error
}

// backupTime bounds a backup, however large it is.
const backupTime = 10 * time.Minute

// snapshot answers GET /v1/ledger/snapshot with the bytes of a backup. When it fails in the middle the connection is cut, so that
// nobody takes what came for all.
func (s *HTTPServer) snapshot(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), backupTime)
	defer cancel()
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // the server's own is for short answers; ctx ends this one
	out := &opening{to: w}
	switch err := s.Backups.Backup(ctx, out); {
	case err != nil && out.begun:
		panic(http.ErrAbortHandler)
	case err != nil:
		fail(w, err)
	}
}

// opening sets the head of an answer before its first byte.
type opening struct {
	to    http.ResponseWriter
	begun bool
}

// Write passes bytes on.
func (o *opening) Write(b []byte) (int, error) {
	if !o.begun {
		o.begun = true
		o.to.Header().Set("Content-Type", mediaBackup)
		o.to.Header().Set("Cache-Control", "no-store")
	}
	return o.to.Write(b)
}
