package guestclient

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Problem is an error that the gateway tells (RFC 9457). Compare it by
// errors.Is(err, guestclient.ErrNoRelation) and the like.
type Problem struct {
	Type       string        `json:"type"`   // stable, /problems/NAME
	Title      string        `json:"title"`  // one line for people
	Detail     string        `json:"detail"` // what to do about it, or ""
	Status     int           `json:"-"`      // of the HTTP response
	RetryAfter time.Duration `json:"-"`      // 0: the gateway named none
}

// Problems that a guest can meet.
var (
	ErrUnauthorized = &Problem{Type: "/problems/unauthorized"}        // wrong account or password, or the invitation is gone
	ErrExpired      = &Problem{Type: "/problems/expired"}             // the invitation's validity is over
	ErrNoRelation   = &Problem{Type: "/problems/no-relation"}         // that person didn't invite this guest
	ErrOffline      = &Problem{Type: "/problems/offline"}             // the operator wants the inviter to be online
	ErrTooLarge     = &Problem{Type: "/problems/too-large"}           // the message is too long
	ErrQuota        = &Problem{Type: "/problems/quota"}               // the guest's files are too many
	ErrNotAllowed   = &Problem{Type: "/problems/not-allowed"}         // the file was found to be harmful
	ErrConflict     = &Problem{Type: "/problems/conflict"}            // the id was used for another message
	ErrTooMany      = &Problem{Type: "/problems/too-many-requests"}   // slow down
	ErrRegistration = &Problem{Type: "/problems/registration-failed"} // the network refused the login
	ErrCoreTimeout  = &Problem{Type: "/problems/core-timeout"}        // the network did not answer
)

// Error says what happened in words for people.
func (p *Problem) Error() string {
	text := p.Title
	if text == "" {
		text = http.StatusText(p.Status)
	}
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	return text
}

// Name is the last part of the type, such as no-relation.
func (p *Problem) Name() string { return p.Type[strings.LastIndexByte(p.Type, '/')+1:] }

// Is makes problems of one type equal for errors.Is.
func (p *Problem) Is(target error) bool {
	other, ok := target.(*Problem) //nolint:errorlint // errors.Is walks the chain
	return ok && p.Name() == other.Name()
}

// readProblem makes a Problem of an answer that is no success, whatever its body is.
func readProblem(res *http.Response) error {
	p := &Problem{}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err == nil && kind == "application/problem+json" {
		if json.Unmarshal(body, p) != nil {
			p = &Problem{}
		}
	}
	p.Status = res.StatusCode
	if p.Type == "" {
		// A proxy's answer, perhaps; the status is all there is.
		p.Type = "about:blank" // RFC 9457 §4.2.1
		p.Title = fmt.Sprintf("HTTP %d %s", res.StatusCode, http.StatusText(res.StatusCode))
	}
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && seconds > 0 {
		p.RetryAfter = min(time.Duration(seconds)*time.Second, time.Hour)
	}
	return p
}
