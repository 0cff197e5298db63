package directory

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"latchkey"
)

// Outcome is how a request to an HTTP directory ended.
type Outcome string

// Outcomes. Yes and No are the directory's answers; Limited is its 429. Odd: an answer that means nothing. LeftAlone: it was not asked,
// since it has failed before.
const (
	Yes       Outcome = "yes"
	No        Outcome = "no"
	Limited   Outcome = "limited"
	Odd       Outcome = "odd"
	Failed    Outcome = "failed"
	TimedOut  Outcome = "timeout"
	LeftAlone Outcome = "left-alone"
)

// Outcomes lists them all, for those who count.
func Outcomes() []Outcome { return []Outcome{Yes, No, Limited, Odd, Failed, TimedOut, LeftAlone} }

// Requests lists what an HTTP directory is asked: the first segments of its paths.
func Requests() []string { return []string{"users", "authenticate", "accounts"} }

// Watcher is told of what an HTTP directory is asked. Its methods must not block.
type Watcher interface {
	// Asked is called once for each request, one of Requests, when it is over.
	Asked(request string, outcome Outcome, took time.Duration)
	// Remembered is called for each question that needed none, since the answer was kept.
	Remembered(request string)
}

// unwatched is the Watcher of those who don't count.
type unwatched struct{}

func (unwatched) Asked(string, Outcome, time.Duration) {}
func (unwatched) Remembered(string)                    {}

// Resting reports whether the directory has failed and is left alone.
func (d *HTTP) Resting() bool { return d.circuit.resting() }

func (c *circuit) resting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rest > 0
}

// tell tells the watcher of a request that is over.
func (d *HTTP) tell(path string, res response, err error, took time.Duration) {
	request, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	d.opt.Watch.Asked(request, outcomeOf(request, res, err), took)
}

func outcomeOf(request string, res response, err error) Outcome {
	switch {
	case errors.Is(err, errLeftAlone):
		return LeftAlone
	case latchkey.Is(err, latchkey.KindDirectoryTimeout):
		return TimedOut
	case err != nil || res.status >= 500:
		return Failed
	case res.status == http.StatusOK || res.status == http.StatusCreated:
		return Yes
	case res.status == http.StatusNotFound && request == "users" && !res.page() || res.status == http.StatusUnauthorized && request == "authenticate":
		return No
	case res.status == http.StatusTooManyRequests:
		return Limited
	}
	return Odd
}
