package transport

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/journal"
	"github.com/weir-cluster/weir/policy"
)

// The words of errors that are not decisions. They are part of the API.
const (
	wordInvalid     = "INVALID"
	wordConflict    = "IDEMPOTENCY_CONFLICT"
	wordTooOld      = "TOO_OLD"
	wordNotFound    = "NOT_FOUND"
	wordGone        = "GONE"
	wordNoHold      = "HOLD_NOT_FOUND"
	wordNoCharge    = "CHARGE_NOT_FOUND"
	wordNoGrant     = "GRANT_NOT_FOUND"
	wordNoAllowance = "ALLOWANCE_NOT_FOUND"
	wordVersion     = "VERSION_CONFLICT"
	wordFull        = "FULL"
	wordUnavailable = "UNAVAILABLE"
	wordUnknown     = "UNKNOWN"
	wordTimeout     = "TIMEOUT"
	wordNotLeader   = "NOT_LEADER"
	wordNotHome     = "NOT_HOME"
	wordInternal    = "INTERNAL"
	wordMethod      = "METHOD_NOT_ALLOWED"
	wordPresent     = "MEMBER_PRESENT"
	wordSlow        = "SLOW"
	wordRefused     = "ENDPOINT_REFUSED"
)

// kind is a class of errors: its word, its gRPC code, its HTTP status, and the sentinel that stands for it.
type kind struct {
	word     string
	code     codes.Code
	status   int
	title    string
	sentinel error
}

// kinds is in the order in which an error is matched. Words are unique; two sentinels of other packages that
// mean the same share one.
func kinds() []kind {
	return []kind{
		{wordConflict, codes.InvalidArgument, http.StatusUnprocessableEntity, "Idempotency key was used with other contents", policy.ErrConflict},
		{wordConflict, codes.InvalidArgument, http.StatusUnprocessableEntity, "Idempotency key was used with other contents", ledger.ErrConflict},
		{wordTooOld, codes.FailedPrecondition, http.StatusGone, "Idempotency key is older than what is remembered", ledger.ErrTooOld},
		{wordNotFound, codes.NotFound, http.StatusNotFound, "No such reservation", policy.ErrNoReservation},
		{wordNotFound, codes.NotFound, http.StatusNotFound, "No such account", ledger.ErrNoAccount},
		{wordNotFound, codes.NotFound, http.StatusNotFound, "No such member", cluster.ErrNoMember},
		{wordNotFound, codes.NotFound, http.StatusNotFound, "No such dead letter", ErrNoLetter},
		{wordRefused, codes.FailedPrecondition, http.StatusBadGateway, "The webhook's endpoint did not take it", errRefused},
		{wordNoHold, codes.NotFound, http.StatusNotFound, "No such hold, or not yet", ledger.ErrNoHold},
		{wordNoCharge, codes.NotFound, http.StatusNotFound, "No such charge, or not yet", ledger.ErrNoCharge},
		{wordNoGrant, codes.NotFound, http.StatusNotFound, "No such grant", ledger.ErrNoGrant},
		{wordNoAllowance, codes.NotFound, http.StatusNotFound, "No such allowance", ledger.ErrNoAllowance},
		{wordGone, codes.OutOfRange, http.StatusGone, "It is from before what is kept", ledger.ErrGone},
		{wordPresent, codes.FailedPrecondition, http.StatusConflict, "The member is still needed", cluster.ErrPresent},
		{wordVersion, codes.FailedPrecondition, http.StatusPreconditionFailed, "Policy is at another version", policy.ErrVersionConflict},
		{wordFull, codes.ResourceExhausted, http.StatusServiceUnavailable, "A bound of the ledger is reached", ledger.ErrFull},
		{wordFull, codes.ResourceExhausted, http.StatusServiceUnavailable, "A bound of what is agreed beside the policy is reached", policy.ErrFull},
		{wordInvalid, codes.InvalidArgument, http.StatusBadRequest, "Invalid request", policy.ErrInvalid},
		{wordInvalid, codes.InvalidArgument, http.StatusBadRequest, "Invalid request", ledger.ErrInvalid},
		{wordGone, codes.OutOfRange, http.StatusGone, "Events are no longer kept", journal.ErrGone},
		{wordSlow, codes.ResourceExhausted, http.StatusServiceUnavailable, "The consumer is too slow", errSlow},
		{wordUnknown, codes.Aborted, http.StatusServiceUnavailable, "Outcome unknown: repeat with the same key", cluster.ErrUnknown},
		{wordNotLeader, codes.FailedPrecondition, http.StatusServiceUnavailable, "Surely not applied", cluster.ErrNotApplied},
		{wordUnavailable, codes.Unavailable, http.StatusServiceUnavailable, "Could not decide", policy.ErrUnavailable},
		{wordUnavailable, codes.Unavailable, http.StatusServiceUnavailable, "The leader's clock is not to be believed", ledger.ErrClock},
		{wordUnavailable, codes.Unavailable, http.StatusServiceUnavailable, "A voter is older than the command", ledger.ErrNewer},
		{wordUnavailable, codes.Unavailable, http.StatusServiceUnavailable, "The journal could not be read", ledger.ErrJournal},
		{wordUnavailable, codes.Unavailable, http.StatusServiceUnavailable, "Could not decide", cluster.ErrUnreachable},
		{wordUnavailable, codes.Unavailable, http.StatusServiceUnavailable, "Events are being fetched", journal.ErrGap},
		{wordUnavailable, codes.Unavailable, http.StatusServiceUnavailable, "The journal is closed", journal.ErrClosed},
		{wordUnavailable, codes.Unavailable, http.StatusServiceUnavailable, "No events here", errNoEvents},
		{wordUnavailable, codes.Unavailable, http.StatusServiceUnavailable, "This node is stopping", errStopping},
		{wordTimeout, codes.DeadlineExceeded, http.StatusServiceUnavailable, "Not answered in time", context.DeadlineExceeded},
		{wordTimeout, codes.Canceled, http.StatusServiceUnavailable, "Caller went away", context.Canceled},
	}
}

// classify returns the kind of an error; what no one foresaw is internal.
func classify(err error) kind {
	for _, k := range kinds() {
		if errors.Is(err, k.sentinel) {
			return k
		}
	}
	return kind{wordInternal, codes.Internal, http.StatusInternalServerError, "Unexpected error", nil}
}

// toFault puts an error on the wire.
func toFault(err error) *weirv1.Fault {
	k := classify(err)
	f := &weirv1.Fault{Code: int32(k.code), Word: k.word, Message: err.Error()}
	if moved := (*cluster.NotHomeError)(nil); errors.As(err, &moved) {
		f.Code, f.Word, f.View = int32(codes.FailedPrecondition), wordNotHome, moved.View
	}
	return f
}

// fromFault takes an error off the wire, so that errors.Is finds what the other node meant.
func fromFault(f *weirv1.Fault) error {
	if f.GetWord() == wordNotHome {
		return &cluster.NotHomeError{View: f.GetView()}
	}
	for _, k := range kinds() {
		if k.word == f.GetWord() {
			return &remoteError{message: f.GetMessage(), sentinel: k.sentinel}
		}
	}
	return &remoteError{message: f.GetMessage(), sentinel: policy.ErrUnavailable}
}

// remoteError is an error of another node: its own words, and what it stands for here.
type remoteError struct {
	message  string
	sentinel error
}

// Error returns the other node's words.
func (e *remoteError) Error() string { return e.message }

// Unwrap returns the sentinel.
func (e *remoteError) Unwrap() error { return e.sentinel }

// toStatus makes an error a gRPC status, with its word as ErrorInfo.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	f := toFault(err)
	s := status.New(codes.Code(f.GetCode()), f.GetMessage())
	info := &errdetails.ErrorInfo{Reason: f.GetWord(), Domain: errorDomain}
	leader := (*cluster.NotLeaderError)(nil)
	if f.GetWord() == wordNotLeader && errors.As(err, &leader) {
		info.Metadata = map[string]string{metaLeader: leader.Leader}
	}
	if oldest, gone := oldestOf(err); gone {
		info.Metadata = map[string]string{metaOldest: strconv.FormatUint(oldest, 10)}
	}
	if detailed, err := s.WithDetails(info); err == nil {
		s = detailed
	}
	if f.GetView() != nil {
		if detailed, err := s.WithDetails(f); err == nil {
			s = detailed
		}
	}
	return s.Err()
}

const (
	errorDomain = "weir.v1"
	metaLeader  = "leader"
	metaOldest  = "oldest"
)

// fromStatus takes an error of a unary call off the wire. A call that did not reach the other node, or was
// not answered, is ErrUnreachable.
func fromStatus(err error) error {
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	f := &weirv1.Fault{Message: s.Message()}
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			f.Word = d.GetReason()
			if leader, ok := d.GetMetadata()[metaLeader]; ok {
				return &cluster.NotLeaderError{Leader: leader}
			}
		case *weirv1.Fault:
			f.View = d.GetView()
		}
	}
	if f.GetWord() == "" {
		return &remoteError{message: s.Message(), sentinel: cluster.ErrUnreachable}
	}
	return fromFault(f)
}
