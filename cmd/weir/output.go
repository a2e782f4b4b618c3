package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// show prints v: as indented JSON, or in the columns that text writes (cells end in a tab).
func show[T any](s *shell, v T, text func(io.Writer, T)) error {
	if s.Output == "json" {
		e := json.NewEncoder(s.stdout)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			return fmt.Errorf("print the answer: %w", err)
		}
		return nil
	}
	w := tabwriter.NewWriter(s.stdout, 0, 8, 2, ' ', 0)
	text(w, v)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print the answer: %w", err)
	}
	return nil
}

// milliseconds writes a duration of the API the short way, such as 1.5s or 2h3m0s.
func milliseconds(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	if d > time.Minute {
		d = d.Round(time.Second)
	}
	return d.String()
}

// orDash fills an empty cell.
func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
