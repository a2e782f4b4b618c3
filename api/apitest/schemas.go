package apitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemas judges JSON by the document's schemas. Each is compiled once: the document's own validator compiles for
// every value, which a test of thousands of exchanges cannot wait for.
type schemas struct {
	mu       sync.Mutex // guards what follows
	compiler *jsonschema.Compiler
	known    map[*openapi3.Schema]*jsonschema.Schema
}

const documentURL = "https://weir.test/openapi.json"

func newSchemas(document *openapi3.T) (*schemas, error) {
	text, err := json.Marshal(document)
	if err != nil {
		return nil, err
	}
	s := &schemas{compiler: jsonschema.NewCompiler(), known: make(map[*openapi3.Schema]*jsonschema.Schema)}
	s.compiler.AssertFormat()
	return s, s.add(documentURL, text)
}

func (s *schemas) add(url string, text []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return s.compiler.AddResource(url, value)
}

// compiled returns the compiled form of a schema of the document.
func (s *schemas) compiled(schema *openapi3.Schema) (*jsonschema.Schema, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.known[schema]; c != nil {
		return c, nil
	}
	text, err := json.Marshal(schema)
	if err != nil {
		return nil, err
	}
	text = bytes.ReplaceAll(text, []byte(`"#/components/`), []byte(`"`+documentURL+`#/components/`))
	url := fmt.Sprintf("https://weir.test/%d.json", len(s.known))
	if err := s.add(url, text); err != nil {
		return nil, err
	}
	c, err := s.compiler.Compile(url)
	if err != nil {
		return nil, err
	}
	s.known[schema] = c
	return c, nil
}

// judge returns what is wrong with a JSON text.
func (s *schemas) judge(schema *openapi3.Schema, text []byte) error {
	c, err := s.compiled(schema)
	if err != nil {
		return fmt.Errorf("compile the schema: %w", err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	return c.Validate(value)
}

// header returns what is wrong with the value of a header.
func (s *schemas) header(schema *openapi3.Schema, value string) error {
	text := []byte(value)
	if schema.Type.Is(openapi3.TypeString) {
		var err error
		if text, err = json.Marshal(value); err != nil {
			return err
		}
	}
	return s.judge(schema, text)
}

var errMissing = errors.New("required, but missing")
