package transport

import (
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// Codec is the option that every gRPC server of a node needs: checks and their answers are read and written by hand,
// everything else as gRPC does by itself.
func Codec() grpc.ServerOption {
	return grpc.ForceServerCodecV2(codec{encoding.GetCodecV2(proto.Name)})
}

type codec struct{ encoding.CodecV2 }

// Marshal hands over a reply as it is; gRPC gives its buffer back when it is sent.
func (c codec) Marshal(message any) (mem.BufferSlice, error) {
	if r, ok := message.(*reply); ok {
		return mem.BufferSlice{mem.NewBuffer(r.buffer, r.buffers)}, nil
	}
	return c.CodecV2.Marshal(message)
}

// Unmarshal reads an incoming message, or one of the generated types.
func (c codec) Unmarshal(data mem.BufferSlice, message any) error {
	m, ok := message.(incoming)
	if !ok {
		return c.CodecV2.Unmarshal(data, message)
	}
	b := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer b.Free()
	r := newReader(b.ReadOnlyData())
	return m.receive(&r)
}

// incoming is a message that is read by hand.
type incoming interface{ receive(r *reader) error }

// reply is an encoded message. Who gives it to gRPC gives its buffer away.
type reply struct {
	buffer  *[]byte
	buffers *buffers
}

// buffers keeps buffers for replies. It is a mem.BufferPool, but for what is overwritten it clears nothing.
type buffers struct{ pool sync.Pool } // of *[]byte

const (
	bufferBytes    = 4 << 10  // of a new buffer
	bufferBytesMax = 1 << 20  // of one that is kept
	replyBytes     = 64 << 10 // from which on an answer begins another message of a stream
)

// Get returns a buffer of a length, with any contents.
func (s *buffers) Get(length int) *[]byte {
	if b, ok := s.pool.Get().(*[]byte); ok && cap(*b) >= length {
		*b = (*b)[:length]
		return b
	}
	b := make([]byte, length, max(length, bufferBytes))
	return &b
}

// Put takes a buffer back.
func (s *buffers) Put(b *[]byte) {
	if cap(*b) <= bufferBytesMax {
		s.pool.Put(b)
	}
}
