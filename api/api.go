// Package api is what clients of a node are promised: the weir.v1 messages below it, and openapi.yaml, the
// description of every HTTP route.
package api

import _ "embed"

//go:embed openapi.yaml
var openAPI []byte

// OpenAPI returns the OpenAPI 3.1 document of the HTTP/JSON API. It must not be changed.
func OpenAPI() []byte { return openAPI }
