// Package docs holds what people read. Pages in reference/ are generated from the code by
// the tests of this package: `go generate ./docs` writes them anew, `go test ./docs` compares.
package docs

//go:generate go test -run Current|Listed . -update
