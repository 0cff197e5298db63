package msrpsdp

import (
	"fmt"
	"strings"

	"github.com/pion/sdp/v3"

	"latchkey/msrp"
)

// fingerprints reads a=fingerprint, of which there may be several (RFC 8122 §5.1): what counts are those of the best algorithm. Those that
// can't be read don't count; if none can, that is an error, since a peer that wants to be known by them must not be taken without.
func fingerprints(attributes []sdp.Attribute) ([]msrp.Fingerprint, error) {
	var all []msrp.Fingerprint
	var wrong error
	for _, a := range attributes {
		if !strings.EqualFold(a.Key, "fingerprint") {
			continue
		}
		f, err := msrp.ParseFingerprint(a.Value)
		if err != nil {
			wrong = fmt.Errorf("sdp: a=fingerprint: %w", err)
			continue
		}
		all = append(all, f)
	}
	if len(all) == 0 {
		return nil, wrong
	}
	return msrp.Preferred(all), nil
}

// secure reads what TLS needs: fingerprints of the medium, or else of the session (RFC 8122 §5). The transport of m= decides; a path of
// msrps URIs on a transport without TLS is an error (RFC 4975 §6), while one of msrp URIs on TLS is taken. A WebSocket client has no certificate
// to show; what it says of one is about other media.
func (m *Media) secure(medium, session []sdp.Attribute) error {
	if !m.TLS {
		if len(m.Path) > 0 && m.Path[len(m.Path)-1].Secure {
			return fmt.Errorf("sdp: a=path %s without TLS in m=", m.Path)
		}
		return nil
	}
	if m.WebSocket() {
		return nil
	}
	var err error
	if m.Fingerprints, err = fingerprints(medium); err != nil || len(m.Fingerprints) > 0 {
		return err
	}
	m.Fingerprints, err = fingerprints(session)
	return err
}
