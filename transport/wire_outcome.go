package transport

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
)

// readOutcome reads an Outcome of another node: a decision stays as it is encoded, and only what is counted of it is read; a
// fault is the error that it stands for. What is inside a decision that nobody here looks at is taken on trust: a node wrote it.
func readOutcome(outcome []byte) (cluster.Carried, error) {
	var decision, fault []byte
	r := reader{data: outcome, end: len(outcome)}
	for r.more() {
		switch tag := r.tag(); tag {
		case sized(1):
			decision = r.part(decision)
		case sized(2):
			fault = r.part(fault)
		default:
			r.unknown(tag)
		}
	}
	switch {
	case r.failed:
		return cluster.Carried{}, fmt.Errorf("%w: an answer that cannot be read", cluster.ErrUnreachable)
	case fault != nil:
		f := new(weirv1.Fault)
		if err := proto.Unmarshal(fault, f); err != nil {
			return cluster.Carried{}, fmt.Errorf("%w: a fault that cannot be read: %w", cluster.ErrUnreachable, err)
		}
		return cluster.Carried{}, fromFault(f)
	case decision == nil:
		return cluster.Carried{}, fmt.Errorf("%w: an answer without a decision", cluster.ErrUnreachable)
	}
	return readCarried(decision)
}

// readCarried reads what is counted of a Decision.
func readCarried(decision []byte) (cluster.Carried, error) {
	c := cluster.Carried{Encoded: decision, Verdict: policy.Deny}
	var reason, refusing []byte
	r := reader{data: decision, end: len(decision)}
	for r.more() {
		switch tag := r.tag(); tag {
		case number(1):
			c.Verdict = fromVerdict(weirv1.Verdict(int32(r.varint())))
		case sized(2):
			reason = r.part(nil)
		case sized(17):
			refusing = r.part(nil)
		default:
			r.unknown(tag)
		}
	}
	if r.failed {
		return cluster.Carried{}, fmt.Errorf("%w: a decision that cannot be read", cluster.ErrUnreachable)
	}
	c.Reason, _ = policy.ParseReason(string(reason))
	c.Refusing = string(refusing)
	return c, nil
}

// appendCarried appends a StreamedOutcome with a decision that is encoded already.
func appendCarried(b []byte, id uint64, decision []byte) []byte {
	b, whole := openLong(b, 1)
	b = appendNumber(b, 1, id)
	b, at := openLong(b, 2)
	return shutLong(shutLong(appendEncoded(b, decision), at), whole)
}

// appendCarriedAnswer does the same for an Outcome of a CheckBatchResponse.
func appendCarriedAnswer(b, decision []byte) []byte {
	b, at := openLong(b, 1)
	return shutLong(appendEncoded(b, decision), at)
}

// appendEncoded appends the decision of an Outcome.
func appendEncoded(b, decision []byte) []byte {
	return append(appendVarint(append(b, byte(sized(1))), uint64(len(decision))), decision...)
}
