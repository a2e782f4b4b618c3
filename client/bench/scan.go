package bench

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

var errGarbled = errors.New("the answer is no protobuf")

// Field numbers of api/weir/v1/access.proto that counting needs.
const (
	fieldOutcomes        = 1 // of CheckBatchResponse and CheckStreamResponse
	fieldStreamedOutcome = 2 // of StreamedOutcome
	fieldDecision        = 1 // of Outcome
	fieldFault           = 2
	fieldVerdict         = 1 // of Decision
	fieldReason          = 2
	fieldWord            = 3 // of Fault
)

// scan counts the outcomes in an answer to a batch or, if streamed, to a stream and returns how many there
// were. It decodes what is counted and nothing else, so that the load generator leaves the processors to
// those it measures.
func scan(b []byte, streamed bool, t *tally) (n int, err error) {
	for len(b) > 0 {
		number, value, rest, err := field(b)
		if err != nil {
			return n, err
		}
		b = rest
		if number != fieldOutcomes {
			continue
		}
		if streamed {
			if value, err = last(value, fieldStreamedOutcome); err != nil {
				return n, err
			}
		}
		if err := t.outcome(value); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// field takes the first field off b. The value is that of a length-delimited one, else nil.
func field(b []byte) (number protowire.Number, value, rest []byte, err error) {
	number, kind, n := protowire.ConsumeTag(b)
	if n < 0 {
		return 0, nil, nil, errGarbled
	}
	b = b[n:]
	if kind == protowire.BytesType {
		if value, n = protowire.ConsumeBytes(b); n < 0 {
			return 0, nil, nil, errGarbled
		}
		return number, value, b[n:], nil
	}
	if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
		return 0, nil, nil, errGarbled
	}
	return number, nil, b[n:], nil
}

// last returns the last value of a length-delimited field, nil when there is none.
func last(b []byte, wanted protowire.Number) (found []byte, err error) {
	for len(b) > 0 {
		number, value, rest, err := field(b)
		if err != nil {
			return nil, err
		}
		if number == wanted {
			found = value
		}
		b = rest
	}
	return found, nil
}

// outcome counts one Outcome.
func (t *tally) outcome(b []byte) error {
	for len(b) > 0 {
		number, value, rest, err := field(b)
		if err != nil {
			return err
		}
		b = rest
		switch number {
		case fieldDecision:
			return t.encodedDecision(value)
		case fieldFault:
			word, err := last(value, fieldWord)
			if err != nil {
				return err
			}
			t.fault(string(word), errors.New("a check of a message came back with the fault "+string(word)))
			return nil
		}
	}
	t.fault("EMPTY", errors.New("an outcome is neither a decision nor a fault"))
	return nil
}

// encodedDecision counts a Decision. Verdict and reason are its first fields; what follows is not looked at.
func (t *tally) encodedDecision(b []byte) error {
	verdict := weirv1.Verdict_VERDICT_UNSPECIFIED
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errGarbled
		}
		if number == fieldVerdict && kind == protowire.VarintType {
			v, m := protowire.ConsumeVarint(b[n:])
			if m < 0 {
				return errGarbled
			}
			verdict, b = weirv1.Verdict(v), b[n+m:]
			continue
		}
		_, value, rest, err := field(b)
		if err != nil {
			return err
		}
		if number == fieldReason {
			note(t, verdict, value)
			return nil
		}
		b = rest
	}
	note(t, verdict, "")
	return nil
}
