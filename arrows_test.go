package latchkey_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "latchkey"

// floor is the storey on which a package lives; imports point down. A room of the same
// storey is a neighbour and is not imported: what one needs of the other is an interface
// that it declares in words of the root package, and gateway joins them.
var floors = map[string]int{
	"cmd": 6, "bench": 6,
	"gateway": 5,
	"httpapi": 4, "web": 4,
	"guest": 3, "conversation": 3, "presence": 3, "registrar": 3, "b2bua": 3, "notify": 3, "push": 3, "directory": 3, "storage": 3, "files": 3,
	"internal/sipua": 2, "msrp/msrpsdp": 2, "msrp/msrpws": 2,
	"msrp": 1, "cpim": 1, "internal": 1, "internal/doze": 0, "internal/leaktest": 0, "internal/processors": 0, "internal/quiet": 0, "notify/smpp": 1, "notify/mm7": 1,
	"": 0,
}

// apart are packages for people outside of the gateway. They import nothing of the product, so that
// a mistake made on both sides of a wire can't cancel out, and only cmd imports them. The programs of examples
// stand on their own, too.
var apart = map[string]bool{"imstest": true, "guestclient": true, "examples": true}

// forTests is a package that puts the product among its peers; only tests and benches import it.
const forTests = "gateway/gatewaytest"

// blank makes data files for tests, and for the worlds of forTests.
const blank = "storage/storagetest"

// browser is a package that drives one, and imports nothing of the product; tests of all rooms may.
const browser = "web/webtest"

// leaks runs tests that count goroutines; tests of all rooms may.
const leaks = "internal/leaktest"

// withoutCode are rooms in which no package of the product lives. Their tests may import everything.
var withoutCode = map[string]bool{"sipp-scenarios": true, "deploy": true, "docs": true}

// pure rooms import the standard library and the root package only.
var pure = map[string]bool{"": true, "msrp": true, "cpim": true, "guestclient": true, "guestclient/guestclienttest": true,
	"notify/smpp": true, "notify/mm7": true, "internal/doze": true, "internal/processors": true, "internal/quiet": true}

type goPackage struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
	Error                              *struct{ Err string }
}

// The packages as `go list` sees them. Broken ones are for the compiler to report.
func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// inside is the path of a package within the module, and whether it is there at all.
func inside(path string) (string, bool) {
	if path == module {
		return "", true
	}
	return strings.CutPrefix(path, module+"/")
}

func room(path string) string {
	first, _, _ := strings.Cut(path, "/")
	return first
}

// floor finds the storey of the longest listed prefix of a package's path.
func floor(path string) (int, bool) {
	for p := path; p != ""; p = p[:max(0, strings.LastIndexByte(p, '/'))] {
		if n, ok := floors[p]; ok {
			return n, true
		}
	}
	n, ok := floors[path]
	return n, ok
}

// arrow says why from may not import to, or "".
func arrow(from, to string) string {
	own, target := room(from), room(to)
	if to == forTests && own != "bench" || to == blank && from != forTests || to == leaks {
		return "only tests import " + to
	}
	if own == target && own != "" && own != "internal" {
		a, _ := floor(from)
		if b, _ := floor(to); b > a {
			return "points up within its room"
		}
		return ""
	}
	switch {
	case apart[own]:
		return "a package for outsiders imports nothing of the product"
	case withoutCode[target]:
		return "nobody imports " + target
	case apart[target]:
		if own == "cmd" || own == "bench" || from == forTests {
			return ""
		}
		return "only cmd imports " + target
	}
	a, okFrom := floor(from)
	b, okTo := floor(to)
	switch {
	case !okFrom || !okTo:
		return "is not drawn: list the room in arrows_test.go"
	case b > a:
		return "points up"
	case b == a:
		return "points at a neighbour"
	}
	return ""
}

// testArrow is arrow for imports of tests: they may also use the fakes, and level-3 rooms may
// test against the real storage.
func testArrow(from, to string) string {
	own, target := room(from), room(to)
	if withoutCode[own] || apart[target] && !apart[own] || to == browser || to == leaks || to == forTests && (own == "gateway" || own == "cmd") {
		return ""
	}
	if target == "storage" && slices.Contains([]string{"guest", "conversation", "registrar", "files", "storage", "httpapi"}, own) {
		return ""
	}
	// storage proves that it satisfies the ports of those rooms.
	if own == "storage" && slices.Contains([]string{"guest", "conversation", "registrar", "notify", "push", "files"}, target) {
		return ""
	}
	return arrow(from, to)
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range packages(t) {
		from, ok := inside(p.ImportPath)
		if !ok {
			continue
		}
		look := func(imports []string, kind string, why func(from, to string) string) {
			for _, path := range imports {
				to, ours := inside(path)
				switch {
				case ours && to != from:
					if reason := why(from, to); reason != "" {
						t.Errorf("%s imports %s%s, which %s", p.ImportPath, path, kind, reason)
					}
				case !ours && pure[from] && kind == "" && strings.Contains(strings.Split(path, "/")[0], "."):
					t.Errorf("%s imports %s; it lives on the standard library alone", p.ImportPath, path)
				}
			}
		}
		look(p.Imports, "", arrow)
		look(p.TestImports, " in a test", testArrow)
		look(p.XTestImports, " in a test", testArrow)
	}
}

func TestEveryRoomIsListed(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		if !e.IsDir() || strings.HasPrefix(name, ".") || name == "artifacts" {
			continue
		}
		if _, ok := floors[name]; !ok && !apart[name] && !withoutCode[name] {
			t.Errorf("the room %s is not listed in arrows_test.go; say who may import it", name)
		}
	}
}

// The rules themselves can fail.
func TestWrongArrowsAreSeen(t *testing.T) {
	for arrowText, wrong := range map[[2]string]bool{
		{"gateway", "httpapi"}: false, {"httpapi", "gateway"}: true, {"guest", "storage"}: true, {"msrp", "msrp/msrpsdp"}: true,
		{"msrp/msrpsdp", "msrp"}: false, {"msrp", "msrp/msrpws"}: true, {"msrp/msrpws", "msrp"}: false, {"msrp/msrpws", "storage"}: true, {"imstest", "msrp"}: true, {"b2bua", "internal/sipua"}: false, {"internal/dialog", "internal/sipua"}: true,
		{"internal/sipua", "internal/dialog"}: false, {"internal/dialog", "internal/limit"}: true, {"msrp", "internal/doze"}: false, {"msrp", "internal/limit"}: true, {"conversation", "guest"}: true, {"notify/mail", "notify"}: false, {"notify/smpp", "notify"}: true,
		{"gateway", "imstest"}: true, {"cmd/latchkey", "imstest"}: false, {forTests, "imstest"}: false, {"gateway", forTests}: true, {"guest", blank}: true, {"storage", blank}: true, {"b2bua", leaks}: true, {forTests, blank}: false, {"bench", forTests}: false, {"guestclient", ""}: true, {"examples/directory", "directory"}: true, {"cpim", ""}: false, {"attic", ""}: true,
	} {
		if reason := arrow(arrowText[0], arrowText[1]); (reason != "") != wrong {
			t.Errorf("arrow%q = %q, want wrong: %v", fmt.Sprint(arrowText), reason, wrong)
		}
	}
}
