package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"latchkey"
)

// eventsPath is the one path whose GET has no HEAD: it would open a stream for nothing.
const eventsPath = "/rcsgw/invitee/events"

// methods maps a method to what it does on one path.
type methods map[string]handler

// route finds the handler. net/http's mux is not used: it would clean paths, and a
// SIP URI may hold `//`, `;` and encoded slashes.
func (a *API) route(w *recorder, r *http.Request) error {
	path := r.URL.EscapedPath()
	if h := descriptive(path); h != nil {
		w.route = path
		return serve(w, r, methods{http.MethodGet: h})
	}
	switch {
	case strings.HasPrefix(path, "/rcsgw/app/") && a.ports.Assets != nil:
		w.route = "/rcsgw/app/"
		a.ports.Assets.ServeHTTP(w, r)
		return nil
	case strings.HasPrefix(path, "/problems/"):
		w.route = "/problems/"
		return serve(w, r, methods{http.MethodGet: explainProblem})
	}
	m, route, err := a.at(path)
	w.route = route
	if err != nil {
		return err
	}
	return serve(w, r, m)
}

// at gives the methods of a path, and what all paths like it have in common; KindNotFound where there is none.
func (a *API) at(path string) (m methods, route string, err error) {
	switch path {
	case "/rcsgw/invitee/user":
		return methods{http.MethodPost: a.invite, http.MethodGet: a.invitations, http.MethodDelete: a.withdrawAll}, path, nil
	case "/rcsgw/invitee/message":
		return methods{http.MethodPost: a.send, http.MethodGet: a.history}, path, nil
	case "/rcsgw/invitee/composing":
		return methods{http.MethodPost: a.composing}, path, nil
	case "/rcsgw/invitee/read":
		return methods{http.MethodPost: a.read}, path, nil
	case pushPath:
		return methods{http.MethodGet: a.pushKey, http.MethodPost: a.subscribe}, path, nil
	case eventsPath:
		return methods{http.MethodGet: a.events}, path, nil
	case filePath:
		return methods{http.MethodPost: a.upload, http.MethodGet: a.files}, path, nil
	}
	if path == contentPath && a.ports.Uploads != nil {
		return a.contentMethods(), path, nil
	}
	for _, p := range []struct {
		prefix  string
		methods func(rest string) methods
	}{
		{"/rcsgw/invitee/user/", func(account string) methods {
			return methods{http.MethodDelete: with(account, a.withdraw)}
		}},
		{"/rcsgw/user/", func(identifier string) methods {
			return methods{http.MethodGet: with(identifier, a.registered)}
		}},
		{"/rcsgw/invitee/session/", func(account string) methods {
			return methods{
				http.MethodGet:    with(account, a.link),
				http.MethodHead:   with(account, a.link),
				http.MethodPost:   with(account, a.login),
				http.MethodDelete: with(account, a.logout),
			}
		}},
		{"/rcsgw/invitee/optout/", func(account string) methods {
			return methods{http.MethodGet: with(account, a.optOutQuestion), http.MethodPost: with(account, a.optOut)}
		}},
		{"/rcsgw/invitee/optin/", func(account string) methods {
			return methods{http.MethodPost: with(account, a.optIn)}
		}},
		{pushPath + "/", func(id string) methods {
			return methods{http.MethodDelete: with(id, a.unsubscribe)}
		}},
		{filePath + "/", a.fileMethods},
		{publicFilePath, func(key string) methods {
			return methods{http.MethodGet: with(key, a.publicFile)}
		}},
		{contentPath + "/", func(id string) methods {
			return methods{http.MethodPut: a.forPhone(func(w http.ResponseWriter, r *http.Request, who latchkey.Subscriber) error {
				return a.depositRest(w, r, who, id)
			})}
		}},
		{"/rcsgw/invitee/status/", func(uri string) methods {
			return methods{http.MethodGet: with(uri, a.status)}
		}},
	} {
		rest, ok := strings.CutPrefix(path, p.prefix)
		if !ok || rest == "" || p.prefix == contentPath+"/" && a.ports.Uploads == nil {
			continue
		}
		// The rest is one value, though a SIP user part may hold a slash (RFC 3261 §25.1).
		return p.methods(pathValue(rest)), p.prefix, nil
	}
	return nil, "", latchkey.Errorf(latchkey.KindNotFound, "")
}

// pathValue undoes percent-encoding, which in an EscapedPath is well-formed. A URI that stands plain in a path may have
// escapes of its own, which are not the path's: it is taken as it is where it makes no sense without them.
func pathValue(s string) string {
	value, _ := url.PathUnescape(s)
	if _, err := address(value); err == nil {
		return value
	}
	if _, err := address(s); err == nil {
		return s
	}
	return value
}

// with binds the value that stands in the path.
func with(value string, h func(http.ResponseWriter, *http.Request, string) error) handler {
	return func(w http.ResponseWriter, r *http.Request) error { return h(w, r, value) }
}

// serve picks the method. HEAD is answered as GET without a body (RFC 9110 §9.3.2), except on the event stream.
func serve(w http.ResponseWriter, r *http.Request, m methods) error {
	h := m[r.Method]
	if h == nil && r.Method == http.MethodHead && r.URL.Path != eventsPath {
		h = m[http.MethodGet]
	}
	if h != nil {
		return h(w, r)
	}
	allow := []string{http.MethodOptions}
	for method := range m {
		allow = append(allow, method)
	}
	if m[http.MethodGet] != nil && m[http.MethodHead] == nil && r.URL.Path != eventsPath {
		allow = append(allow, http.MethodHead)
	}
	slices.Sort(allow)
	w.Header().Set("Allow", strings.Join(allow, ", "))
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return latchkey.Errorf(latchkey.KindMethodNotAllowed, "this path knows %s", strings.Join(allow, ", "))
}

// query reads the parameters of a URL. It splits at & only and leaves + alone: a SIP
// URI in a query holds `;`, and a telephone number begins with +.
func query(r *http.Request) map[string]string {
	values := map[string]string{}
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.PathUnescape(name)
		if err != nil {
			continue
		}
		value, err = url.PathUnescape(value)
		if err != nil {
			continue
		}
		if _, twice := values[name]; !twice {
			values[name] = value
		}
	}
	return values
}

// address reads an address as people write it: with or without its scheme.
func address(s string) (latchkey.Address, error) {
	s = strings.TrimSpace(s)
	lower := strings.ToLower(s)
	switch {
	case strings.HasPrefix(lower, "sip:"), strings.HasPrefix(lower, "sips:"), strings.HasPrefix(lower, "tel:"):
	case strings.HasPrefix(s, "+") && !strings.Contains(s, "@"):
		s = "tel:" + s
	default:
		s = "sip:" + s
	}
	return latchkey.ParseAddress(s)
}
