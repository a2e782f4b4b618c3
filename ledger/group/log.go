package group

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// raftLogger returns a logger for the Raft library that hands warnings and errors to l, one level lower: an
// election, or a peer that cannot be reached, is the library's daily work, and told elsewhere when it matters.
func raftLogger(l *slog.Logger) hclog.Logger {
	logger := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Level: hclog.Off, Output: io.Discard})
	logger.RegisterSink(sink{l})
	return logger
}

type sink struct{ to *slog.Logger }

var _ hclog.SinkAdapter = sink{}

// Accept drops what is below a warning: the library tells every election in detail.
func (s sink) Accept(name string, level hclog.Level, message string, args ...interface{}) {
	if level < hclog.Warn {
		return
	}
	severity := slog.LevelDebug
	if level >= hclog.Error {
		severity = slog.LevelInfo
	}
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			args[i] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
	}
	s.to.With("component", name).Log(context.Background(), severity, message, args...)
}
