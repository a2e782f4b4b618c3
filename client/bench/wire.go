package bench

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// frame is a message that is encoded already.
type frame struct{ bytes []byte }

// counted is an answer of which nothing is kept but the count.
type counted struct {
	streamed bool
	to       *tally
	n        int // outcomes in it
}

// rawCodec sends frames as they are and counts answers without decoding them.
type rawCodec struct{}

var _ encoding.CodecV2 = rawCodec{}

// Name is that of the codec whose bytes these are.
func (rawCodec) Name() string { return "proto" }

// Marshal hands out the bytes of a frame.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(*frame)
	if !ok {
		return nil, fmt.Errorf("send a %T: only encoded messages go this way", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(f.bytes)}, nil
}

// Unmarshal counts an answer.
func (rawCodec) Unmarshal(answer mem.BufferSlice, v any) (err error) {
	c, ok := v.(*counted)
	if !ok {
		return fmt.Errorf("receive a %T: answers are only counted", v)
	}
	b := answer.MaterializeToBuffer(mem.DefaultBufferPool())
	defer b.Free()
	c.n, err = scan(b.ReadOnlyData(), c.streamed, c.to)
	return err
}
