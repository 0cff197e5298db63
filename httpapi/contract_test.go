package httpapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// The OpenAPI document is held against the facade: every request and answer of every test of this package goes through a recorder
// (world.handler), which fails the test where the two differ. When all tests have run, kept looks whether they have seen every operation with
// every status and media type that the document names, and every XML document valid by the schema.

// contract is what the document says, and what was seen of it.
var contract = sync.OnceValue(newPact)

type pact struct {
	doc        map[string]any
	operations []*operation
	compiler   *jsonschema.Compiler

	mu      sync.Mutex
	schemas map[string]*jsonschema.Schema
	seen    map[string]bool   // "operation status", "operation status type", "operation body type"
	xml     map[string]string // documents, and where they are from
}

// operation is one method of one path.
type operation struct {
	id, method string
	path       []string // segments; those of parameters begin with {
	pointer    string
	node       map[string]any
}

func newPact() *pact {
	p := &pact{schemas: map[string]*jsonschema.Schema{}, seen: map[string]bool{}, xml: map[string]string{}}
	text, err := documentJSON()
	if err == nil {
		err = json.Unmarshal(text, &p.doc)
	}
	if err != nil {
		panic(err)
	}
	for path, item := range p.doc["paths"].(map[string]any) {
		for method, node := range item.(map[string]any) {
			if o, ok := node.(map[string]any); ok && o["operationId"] != nil {
				p.operations = append(p.operations, &operation{
					id: o["operationId"].(string), method: strings.ToUpper(method), path: strings.Split(path, "/"), node: o,
					pointer: "/paths/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(path) + "/" + method,
				})
			}
		}
	}
	// Clients must take what is new; these tests must not.
	strict := jsonschema.NewCompiler()
	strict.DefaultDraft(jsonschema.Draft2020)
	strict.AssertFormat()
	if err := strict.AddResource("openapi.json", closed(p.doc)); err != nil {
		panic(err)
	}
	p.compiler = strict
	return p
}

// closed is a copy of a document in which objects with properties have no others.
func closed(v any) any {
	switch v := v.(type) {
	case map[string]any:
		c := map[string]any{}
		for k, e := range v {
			c[k] = closed(e)
		}
		if v["type"] == "object" && v["properties"] != nil && v["additionalProperties"] == nil {
			c["additionalProperties"] = false
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i, e := range v {
			c[i] = closed(e)
		}
		return c
	}
	return v
}

// find is the operation of a request; HEAD is as GET where it has none of its own.
func (p *pact) find(method, escaped string) (o *operation, known bool) {
	var best *operation
	for _, o := range p.operations {
		if !o.matches(escaped) {
			continue
		}
		known = true
		if o.method == method || method == http.MethodHead && o.method == http.MethodGet {
			if best == nil || best.method != method && o.method == method || len(o.path) > len(best.path) {
				best = o
			}
		}
	}
	return best, known
}

// matches compares a path; the last parameter takes all that is left, since a URI may hold slashes.
func (o *operation) matches(escaped string) bool {
	got := strings.Split(escaped, "/")
	if len(got) < len(o.path) {
		return false
	}
	for i, segment := range o.path {
		last := i == len(o.path)-1
		switch {
		case strings.HasPrefix(segment, "{"):
			if got[i] == "" || last && o.id == "fetchFile" && got[len(got)-1] == "preview" {
				return false
			}
			if last {
				return true
			}
		case segment != got[i]:
			return false
		}
	}
	return len(got) == len(o.path)
}

// follow gives what a reference points at, and its place.
func (p *pact) follow(node any, pointer string) (map[string]any, string) {
	m, _ := node.(map[string]any)
	for m["$ref"] != nil {
		pointer = strings.TrimPrefix(m["$ref"].(string), "#")
		var at any = p.doc
		for _, key := range strings.Split(pointer, "/")[1:] {
			at = at.(map[string]any)[strings.NewReplacer("~1", "/", "~0", "~").Replace(key)]
		}
		m, _ = at.(map[string]any)
	}
	return m, pointer
}

func (p *pact) validate(pointer string, v any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.schemas[pointer]
	if s == nil {
		var err error
		if s, err = p.compiler.Compile("openapi.json#" + (&url.URL{Path: pointer}).EscapedPath()); err != nil {
			return err
		}
		p.schemas[pointer] = s
	}
	return s.Validate(v)
}

func (p *pact) note(words ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[strings.TrimSuffix(fmt.Sprintln(words...), "\n")] = true
}

// media finds the entry for a type in a content object.
func media(content map[string]any, kind string) string {
	major, _, _ := strings.Cut(kind, "/")
	for _, key := range []string{kind, major + "/*", "*/*"} {
		if content[key] != nil {
			return key
		}
	}
	return ""
}

// check holds an exchange against the document.
func (p *pact) check(x *exchange) error {
	if x.status == 0 || strings.HasPrefix(x.path, "/rcsgw/app/") {
		return nil // the client went before the answer, or it is the page's own affair
	}
	o, known := p.find(x.method, x.path)
	switch {
	case x.method == http.MethodOptions && known:
		if x.status != http.StatusNoContent && x.status != http.StatusTooManyRequests || x.status == http.StatusNoContent && x.header.Get("Allow")+x.header.Get("Access-Control-Allow-Methods") == "" {
			return fmt.Errorf("OPTIONS is answered %d without Allow", x.status)
		}
		return nil
	case o == nil && known:
		if x.status != http.StatusTooManyRequests && (x.status != http.StatusMethodNotAllowed || x.header.Get("Allow") == "") {
			return fmt.Errorf("a method that isn't documented is answered %d", x.status)
		}
		return p.problem(x)
	case o == nil:
		if x.status != http.StatusNotFound && x.status != http.StatusTooManyRequests {
			return fmt.Errorf("a path that isn't documented is answered %d", x.status)
		}
		return p.problem(x)
	case x.method == http.MethodHead && strings.HasSuffix(x.path, "/events") && x.status == http.StatusMethodNotAllowed:
		return nil
	}
	responses := o.node["responses"].(map[string]any)
	status := strconv.Itoa(x.status)
	node, ok := responses[status]
	pointer := o.pointer + "/responses/" + status
	if !ok {
		if !slices.Contains([]int{http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable}, x.status) {
			return fmt.Errorf("status %d isn't documented", x.status)
		}
		node, pointer = responses["default"], o.pointer+"/responses/default"
	}
	if x.method != http.MethodHead || o.method == http.MethodHead {
		p.note(o.id, status)
	}
	response, pointer := p.follow(node, pointer)
	if x.status >= 200 && x.status < 300 {
		if err := p.checkRequest(o, x); err != nil {
			return fmt.Errorf("request: %w", err)
		}
	}
	if err := p.checkHeaders(response, x); err != nil {
		return err
	}
	content, _ := response["content"].(map[string]any)
	if x.method == http.MethodHead || x.status == http.StatusSwitchingProtocols {
		return nil
	}
	if content == nil {
		if len(x.body) > 0 {
			return fmt.Errorf("a body of %q isn't documented", x.header.Get("Content-Type"))
		}
		return nil
	}
	return p.checkBody(o.id+" "+status, pointer, content, x.header.Get("Content-Type"), x.body, x.cut)
}

// checkHeaders wants header fields that each failure needs.
func (p *pact) checkHeaders(response map[string]any, x *exchange) error {
	switch {
	case x.status == http.StatusUnauthorized && x.header.Get("WWW-Authenticate") == "":
		return fmt.Errorf("401 without WWW-Authenticate (RFC 9110 §15.5.2)")
	case x.status == http.StatusTooManyRequests || x.status == http.StatusServiceUnavailable:
		if n, err := strconv.Atoi(x.header.Get("Retry-After")); err != nil || n < 1 {
			return fmt.Errorf("%d with Retry-After %q", x.status, x.header.Get("Retry-After"))
		}
	}
	headers, _ := response["headers"].(map[string]any)
	for name := range headers {
		if v := x.header.Get(name); strings.HasPrefix(name, "Upload-Offset") && v == "" {
			return fmt.Errorf("%d without %s", x.status, name)
		}
	}
	return nil
}

// problem wants the body to be one of RFC 9457.
func (p *pact) problem(x *exchange) error {
	if x.method == http.MethodHead {
		return nil
	}
	return p.checkBody("", "/components/responses/Failure", p.doc["components"].(map[string]any)["responses"].(map[string]any)["Failure"].(map[string]any)["content"].(map[string]any),
		x.header.Get("Content-Type"), x.body, false)
}

// checkRequest holds the parameters and the body of a request that succeeded against what is documented.
func (p *pact) checkRequest(o *operation, x *exchange) error {
	all, _ := o.node["parameters"].([]any)
	documented := map[string]bool{}
	for i, node := range all {
		param, pointer := p.follow(node, fmt.Sprintf("%s/parameters/%d", o.pointer, i))
		name := param["name"].(string)
		value, given := "", false
		switch param["in"] {
		case "query":
			documented[name] = true
			value, given = x.query[name]
		case "header":
			value = x.request.Get(name)
			given = value != ""
		}
		if !given || value == "" {
			if param["required"] == true {
				return fmt.Errorf("%s is documented as required", name)
			}
			continue
		}
		var v any = value
		switch param["schema"].(map[string]any)["type"] {
		case "integer", "number":
			v = json.Number(value)
		}
		if err := p.validate(pointer+"/schema", v); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for name := range x.query {
		if name != "" && name != "x" && !documented[name] { // x: one that is ignored
			return fmt.Errorf("the parameter %s isn't documented", name)
		}
	}
	if len(bytes.TrimSpace(x.sent)) == 0 || x.cut {
		return nil
	}
	body, _ := o.node["requestBody"].(map[string]any)
	if body == nil {
		return nil // it isn't read
	}
	kind := x.request.Get("Content-Type")
	if kind == "" {
		kind = string(jsonFormat)
	}
	return p.checkBody(o.id+" body", o.pointer+"/requestBody", body["content"].(map[string]any), kind, x.sent, false)
}

// checkBody validates one body. Where it was cut off there is nothing to hold it against but its type.
func (p *pact) checkBody(what, pointer string, content map[string]any, contentType string, body []byte, cut bool) error {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return fmt.Errorf("Content-Type %q: %w", contentType, err)
	}
	kind = strings.Replace(kind, "text/xml", string(xmlFormat), 1)
	key := media(content, kind)
	if key == "" {
		return fmt.Errorf("the type %s isn't documented", kind)
	}
	p.note(what, key)
	pointer += "/content/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key) + "/schema"
	switch {
	case cut, key == "*/*", key == "image/*":
		return nil
	case strings.HasSuffix(kind, "json"), kind == string(fileFormat):
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(bytes.TrimPrefix(body, []byte("\ufeff"))))
		if err != nil {
			return err
		}
		if strings.HasSuffix(what, " body") {
			if object, ok := v.(map[string]any); ok {
				p.trim(content[key].(map[string]any)["schema"], object)
			}
		}
		return p.validate(pointer, v)
	case strings.HasSuffix(kind, "xml"):
		if schema, _ := p.follow(content[key].(map[string]any)["schema"], ""); schema["xml"] != nil {
			return hasRoot(body, schema["xml"].(map[string]any))
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.xml[string(bytes.TrimPrefix(body, []byte("\ufeff")))] = what
		return nil
	case kind == string(sseFormat):
		return p.checkStream(string(body))
	}
	return nil
}

// hasRoot holds a document that isn't ours against what is documented of its root.
func hasRoot(body []byte, want map[string]any) error {
	var root struct{ XMLName xml.Name }
	if err := xml.Unmarshal(body, &root); err != nil {
		return err
	}
	if space, _ := want["namespace"].(string); root.XMLName != (xml.Name{Space: space, Local: want["name"].(string)}) {
		return fmt.Errorf("the root is %v, documented is %v", root.XMLName, want)
	}
	return nil
}

// trim takes out of a body what is no field of its schema: the facade ignores it.
func (p *pact) trim(schema any, body map[string]any) {
	s, _ := p.follow(schema, "")
	properties, _ := s["properties"].(map[string]any)
	for name := range body {
		if properties[name] == nil {
			delete(body, name)
		}
	}
}

// checkStream validates each event of a stream, but for one that was cut off.
func (p *pact) checkStream(stream string) error {
	blocks := strings.Split(stream, "\n\n")
	for _, block := range blocks[:len(blocks)-1] {
		for line := range strings.SplitSeq(block, "\n") {
			data, ok := strings.CutPrefix(line, "data: ")
			if !ok {
				continue
			}
			v, err := jsonschema.UnmarshalJSON(strings.NewReader(data))
			if err == nil {
				err = p.validate("/components/schemas/Event", v)
			}
			if err != nil {
				return fmt.Errorf("event %s: %w", data, err)
			}
		}
	}
	return nil
}

// kept reports whether all that is documented was seen. Where only some tests ran there is nothing to say.
func kept() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.fuzz", "test.bench"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return true
		}
	}
	p := contract()
	var never []string
	for _, o := range p.operations {
		responses := o.node["responses"].(map[string]any)
		for _, status := range slices.Sorted(maps.Keys(responses)) {
			if status == "default" {
				continue
			}
			if !p.seen[o.id+" "+status] {
				never = append(never, o.id+" "+status)
			}
			response, _ := p.follow(responses[status], "")
			content, _ := response["content"].(map[string]any)
			for kind := range content {
				if status < "300" && !p.seen[o.id+" "+status+" "+kind] {
					never = append(never, o.id+" "+status+" "+kind)
				}
			}
		}
		if body, _ := o.node["requestBody"].(map[string]any); body != nil {
			for kind := range body["content"].(map[string]any) {
				if !p.seen[o.id+" body "+kind] {
					never = append(never, o.id+" with a body of "+kind)
				}
			}
		}
	}
	slices.Sort(never)
	for _, n := range never {
		fmt.Println("FAIL: openapi.yaml documents what no test has seen:", n)
	}
	return validXML(p.xml) && len(never) == 0
}

// validXML validates all XML that was sent and answered by the schema, with xmllint.
func validXML(documents map[string]string) bool {
	if _, err := exec.LookPath("xmllint"); err != nil {
		fmt.Println("XML not validated: xmllint is missing; on Debian: apt-get install libxml2-utils")
		return os.Getenv("CI") != "true"
	}
	dir, err := os.MkdirTemp("", "xml")
	if err != nil {
		fmt.Println("FAIL:", err)
		return false
	}
	defer os.RemoveAll(dir)
	args, n := []string{"--noout", "--nonet", "--schema", "latchkey.xsd"}, 0
	for text, what := range documents {
		// What a root is called is the sender's business; the schema knows those of the document.
		if strings.HasSuffix(what, " body") && !rootKnown(text) {
			continue
		}
		n++
		path := filepath.Join(dir, fmt.Sprintf("%d-%s.xml", n, strings.ReplaceAll(what, " ", "-")))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			fmt.Println("FAIL:", err)
			return false
		}
		args = append(args, path)
	}
	out, err := exec.Command("xmllint", args...).CombinedOutput()
	if err != nil || n == 0 {
		for line := range strings.SplitSeq(string(out), "\n") {
			if !strings.HasSuffix(line, " validates") {
				fmt.Println(line)
			}
		}
		fmt.Printf("FAIL: latchkey.xsd and %d recorded documents: %v\n", n, err)
		return false
	}
	return true
}

func rootKnown(text string) bool {
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		t, err := d.Token()
		if err != nil {
			return false
		}
		if s, ok := t.(xml.StartElement); ok {
			return slices.Contains([]string{"invitation", "login", "message", "composing", "read", "push"}, s.Name.Local)
		}
	}
}

// exchange is a request and its answer.
type exchange struct {
	method, path string
	query        map[string]string
	request      http.Header
	sent         []byte
	status       int
	header       http.Header
	body         []byte
	cut          bool // too long to keep, or not all of it was read
}

// handler is the facade behind a recorder that holds it against the document.
func (w *world) handler() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		x := &exchange{method: r.Method, path: r.URL.EscapedPath(), query: query(r), request: r.Header.Clone()}
		r.Body = &copied{r.Body, x}
		rec := &witness{rw, x, w.t}
		defer func() {
			if p := recover(); p != nil {
				panic(p)
			}
			if err := contract().check(x); err != nil {
				w.t.Errorf("%s %s is not as openapi.yaml says: %v\n%.500s\n%d %v\n%.1000s", x.method, x.path, err, x.sent, x.status, x.header, x.body)
			}
		}()
		w.api.ServeHTTP(rec, r)
	})
}

// most is how many octets of a body are kept.
const most = 1 << 20

type copied struct {
	io.ReadCloser
	x *exchange
}

func (c *copied) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	if len(c.x.sent) < most {
		c.x.sent = append(c.x.sent, b[:n]...)
	}
	return n, err
}

// witness keeps what is answered.
type witness struct {
	http.ResponseWriter
	x *exchange
	t testing.TB
}

func (w *witness) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *witness) WriteHeader(code int) {
	if w.x.status == 0 && (code >= 200 || code == http.StatusSwitchingProtocols) {
		w.x.status, w.x.header = code, w.Header().Clone()
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *witness) Write(b []byte) (int, error) {
	if w.x.status == 0 {
		w.x.status, w.x.header = http.StatusOK, w.Header().Clone()
	}
	n, err := w.ResponseWriter.Write(b)
	if len(w.x.body)+n > most || err != nil {
		w.x.cut = true
	} else {
		w.x.body = append(w.x.body, b[:n]...)
	}
	return n, err
}

// Hijack gives the connection away, and keeps what is written to it: a stream is an answer, too.
func (w *witness) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil && !strings.EqualFold(w.x.request.Get("Upgrade"), "websocket") {
		conn = &tapped{Conn: conn, w: w}
	}
	return conn, rw, err
}

// tapped holds a stream against the document when it is closed.
type tapped struct {
	net.Conn
	w    *witness
	mu   sync.Mutex
	all  []byte
	once sync.Once
}

func (c *tapped) Write(b []byte) (int, error) {
	c.mu.Lock()
	if len(c.all) < most {
		c.all = append(c.all, b...)
	}
	c.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *tapped) Close() error {
	c.once.Do(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(c.all)), nil)
		if err != nil {
			return // cut off before it began
		}
		body, err := io.ReadAll(res.Body)
		x := *c.w.x
		x.status, x.header, x.body, x.cut = res.StatusCode, res.Header, body, false
		if err != nil && len(c.all) < most && !errors.Is(err, io.ErrUnexpectedEOF) {
			c.w.t.Errorf("a stream's chunks can't be read: %v", err)
		}
		if err := contract().check(&x); err != nil {
			c.w.t.Errorf("%s is not as openapi.yaml says: %v\n%.1000s", x.path, err, body)
		}
	})
	return c.Conn.Close()
}

// The examples are for people who copy them.
func TestExamplesAreValid(t *testing.T) {
	p := contract()
	n := 0
	var walk func(pointer string, v any)
	walk = func(pointer string, v any) {
		list, _ := v.([]any)
		for i, e := range list {
			walk(fmt.Sprint(pointer, "/", i), e)
		}
		m, _ := v.(map[string]any)
		if _, ok := m["schema"].(map[string]any); ok {
			examples := []any{}
			if e, ok := m["example"]; ok {
				examples = append(examples, e)
			}
			more, _ := m["examples"].(map[string]any)
			for _, e := range more {
				examples = append(examples, e.(map[string]any)["value"])
			}
			for _, e := range examples {
				n++
				text, isText := e.(string)
				switch {
				case strings.HasSuffix(pointer, "xml"):
					p.mu.Lock()
					p.xml[text] = "example"
					p.mu.Unlock()
				case strings.HasSuffix(pointer, "text~1event-stream"):
					if err := p.checkStream(text); err != nil || !isText {
						t.Errorf("%s: %v", pointer, err)
					}
				default:
					if err := p.validate(pointer+"/schema", e); err != nil {
						t.Errorf("%s: %v: %v", pointer, e, err)
					}
				}
			}
		}
		for key, e := range m {
			walk(pointer+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(key), e)
		}
	}
	walk("", p.doc)
	if n < 30 {
		t.Errorf("%d examples were found", n)
	}
}
