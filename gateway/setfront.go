package gateway

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Setters of the limits of the HTTP side.

func setHTTPRate(c *Config, v string) error {
	if v == "none" {
		c.HTTPRate = 0
		return nil
	}
	n, err := strconv.ParseFloat(v, 64)
	if err != nil || !(n > 0) || n > 1e9 {
		return fmt.Errorf("%q is neither a number of requests a second nor none", v)
	}
	c.HTTPRate = n
	return nil
}

// leastConnections leaves each address a few under placeShare.
const leastConnections = 64

func setHTTPConnections(c *Config, v string) error {
	n, err := strconv.Atoi(v)
	if err != nil {
		return fmt.Errorf("%q is not a number", v)
	}
	if n < leastConnections {
		return fmt.Errorf("%d is too few; the least is %d", n, leastConnections)
	}
	c.HTTPConnections = n
	return nil
}

func setHTTPOrigins(c *Config, v string) error { return setOrigins(&c.HTTPOrigins, v) }

func setWSOrigins(c *Config, v string) error { return setOrigins(&c.WSOrigins, v) }

func setOrigins(all *[]string, v string) error {
	*all = nil
	for _, o := range list(v) {
		u, err := url.Parse(o)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || o != u.Scheme+"://"+strings.ToLower(u.Host) {
			return fmt.Errorf("%q is not an origin as browsers write it: scheme, host and perhaps port, in lower case, without a final slash", o)
		}
		*all = append(*all, o)
	}
	if len(*all) == 0 {
		return errors.New("is empty")
	}
	return nil
}
