package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"latchkey/gateway"
	"latchkey/notify/smpp"
)

// messageProbes try what sends SMS and MMS.
func messageProbes(c gateway.Config) (all []probe) {
	if c.SMS != nil {
		all = append(all, probe{"sms", func(ctx context.Context) (string, error) { return checkSMS(ctx, c.SMS) }})
	}
	if c.MMS != nil {
		all = append(all, probe{"mms", func(ctx context.Context) (string, error) { return checkMMS(ctx, c.MMS) }})
	}
	return all
}

// checkSMS binds to each SMS centre once and unbinds; it submits nothing.
func checkSMS(ctx context.Context, s *gateway.SMS) (string, error) {
	var well []string
	var failed error
	for i, centre := range s.Servers() {
		start := time.Now()
		err := smpp.Probe(ctx, centre, s.Options())
		if refusal, ok := errors.AsType[*smpp.Refusal](err); ok {
			switch refusal.Status {
			case smpp.InvalidPassword, smpp.InvalidSystemID, smpp.BindFailed:
				err = fmt.Errorf("%s does not let %s in; look at system-id and password (%w)", centre.HostPort, s.Centres[i].User, err)
			case smpp.AlreadyBound:
				err = nil // by the gateway that runs
			}
		}
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		well = append(well, fmt.Sprintf("%s binds in %s", centre.HostPort, time.Since(start).Round(time.Millisecond)))
	}
	if failed != nil {
		return "", errors.New(strings.ReplaceAll(failed.Error(), "\n", "; "))
	}
	return strings.Join(well, ", "), nil
}

// checkMMS asks the centre for its abilities. Any answer but a server's own failure shows that somebody speaks HTTP there; that
// it takes messages could only be seen by sending one.
func checkMMS(ctx context.Context, m *gateway.MMS) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodOptions, m.URL, nil)
	if err != nil {
		return "", err
	}
	if m.User != "" {
		req.SetBasicAuth(m.User, m.Password.Reveal())
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return "", fmt.Errorf("%s can't be reached: %w", m.URL, err)
	}
	_ = res.Body.Close()
	switch {
	case res.StatusCode == http.StatusUnauthorized, res.StatusCode == http.StatusForbidden:
		return "", fmt.Errorf("%s does not let %q in (HTTP %s)", m.URL, m.User, res.Status)
	case res.StatusCode == http.StatusNotFound, res.StatusCode >= 502:
		return "", fmt.Errorf("%s answers HTTP %s", m.URL, res.Status)
	}
	return fmt.Sprintf("%s answers HTTP %d", m.URL, res.StatusCode), nil
}
