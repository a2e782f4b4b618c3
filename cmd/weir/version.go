package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

type versionCommand struct{}

// Run prints the version of this binary; it asks no node.
func (versionCommand) Run(s *shell) error {
	v := build{Version: buildVersion(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	return show(s, v, func(w io.Writer, v build) {
		fmt.Fprintf(w, "weir %s, %s, %s\n", v.Version, v.Go, v.Platform)
	})
}

type build struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// buildVersion is what the Go toolchain stamped: a tag, or a pseudo-version that names the commit.
func buildVersion() string {
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" && b.Main.Version != "(devel)" {
		return b.Main.Version
	}
	return "development"
}
