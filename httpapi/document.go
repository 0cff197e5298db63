package httpapi

import (
	_ "embed"
	"encoding/json"
	"net/http"
	"sync"

	"gopkg.in/yaml.v3"
)

// What describes the facade, and the page that lets one try it. The document is written by hand; the tests hold
// every answer that they get against it.
var (
	//go:embed openapi.yaml
	document []byte
	//go:embed latchkey.xsd
	schema []byte
	//go:embed problem.xsd
	problemSchema []byte

	//go:embed try/try.html
	tryPage []byte
	//go:embed try/try.js
	tryScript []byte
	//go:embed try/try.css
	tryStyle []byte
)

// documentJSON is the OpenAPI document as JSON.
var documentJSON = sync.OnceValues(func() ([]byte, error) {
	var doc any
	if err := yaml.Unmarshal(document, &doc); err != nil {
		return nil, err
	}
	return json.Marshal(doc)
})

// descriptive answers with what is written about the facade; nil: nothing is at that path.
func descriptive(path string) handler {
	switch path {
	case "/openapi.yaml":
		return constant("application/yaml", document) // RFC 9512 §2.1
	case "/openapi.json":
		return func(w http.ResponseWriter, r *http.Request) error {
			body, err := documentJSON()
			if err != nil {
				return err
			}
			return constant(string(jsonFormat), body)(w, r)
		}
	case "/rcsgw/app/latchkey.xsd":
		return constant(string(xmlFormat), schema)
	case "/rcsgw/app/problem.xsd":
		return constant(string(xmlFormat), problemSchema)
	case "/rcsgw/app/try":
		return constant("text/html; charset=utf-8", tryPage)
	case "/rcsgw/app/try.js":
		return constant("text/javascript; charset=utf-8", tryScript)
	case "/rcsgw/app/try.css":
		return constant("text/css; charset=utf-8", tryStyle)
	}
	return nil
}

// constant answers with the same bytes every time.
func constant(contentType string, body []byte) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Content-Type", contentType)
		writeBody(w, r, http.StatusOK, body)
		return nil
	}
}
