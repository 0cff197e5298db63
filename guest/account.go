package guest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"latchkey"
)

// allot makes the account for a guest who has none (R9). No two identifiers get the same:
//
//   - mapped: a domain has no underscore, so the last "_at_" of a user part is the one that
//     stands for the @, and the mailbox can be read back. A number begins with + and has none.
//   - identifier: mailboxes of our own domain would meet numbers and serials there, so
//     they are mapped, as are those whose domain can't stand in a SIP URI (RFC 3261 §25.1).
//   - serial: counted in the store.
//   - directory: the directory's word is taken, and its password for SIP.
//
// What cannot be written in one scheme, or is taken by a subscriber, gets a serial number.
func (d *Desk) allot(ctx context.Context, id latchkey.Identifier) (latchkey.AccountID, latchkey.Secret, error) {
	if d.opt.Scheme == Allotted {
		return d.opt.Allot(ctx, id)
	}
	if name, ok := d.nameFor(id); ok {
		_, err := d.directory.FindURI(ctx, name.Address())
		if latchkey.Is(err, latchkey.KindNotFound) {
			return name, "", nil
		}
		if err != nil {
			return "", "", fmt.Errorf("directory: %w", err)
		}
	}
	account, err := d.serial(ctx)
	return account, "", err
}

// serial makes an account that no identifier makes: it has neither + nor "_at_".
func (d *Desk) serial(ctx context.Context) (latchkey.AccountID, error) {
	for {
		n, err := d.store.NextSerial(ctx, "account")
		if err != nil {
			return "", err
		}
		name, ok := canonical("sip:g" + strconv.FormatInt(n, 10) + "@" + d.opt.Domain)
		if !ok {
			return "", errors.New("account: the domain can't be used")
		}
		// An operator may have subscribers in this domain, one of whom is called g1.
		if _, err := d.directory.FindURI(ctx, name.Address()); latchkey.Is(err, latchkey.KindNotFound) {
			return name, nil
		} else if err != nil {
			return "", fmt.Errorf("directory: %w", err)
		}
	}
}

// nameFor is the account that the scheme makes of an identifier; false if it can't.
func (d *Desk) nameFor(id latchkey.Identifier) (latchkey.AccountID, bool) {
	if d.opt.Scheme == Serial {
		return "", false
	}
	if id.Kind == latchkey.Tel {
		return canonical("sip:" + id.Value + "@" + d.opt.Domain)
	}
	at := strings.LastIndexByte(id.Value, '@')
	if at < 0 {
		return "", false
	}
	local, domain := id.Value[:at], id.Value[at+1:]
	if d.opt.Scheme == Identical && ascii(domain) {
		if name, ok := canonical("sip:" + escaped(local) + "@" + domain); ok && name.Address().Host() != d.domain() {
			return name, true
		}
	}
	return canonical("sip:" + escaped(local+"_at_"+domain) + "@" + d.opt.Domain)
}

func (d *Desk) domain() string {
	name, _ := canonical("sip:g@" + d.opt.Domain)
	return name.Address().Host()
}

// canonical is the account id of a URI. It must read back as itself: an id is parsed again
// wherever it is used, and a long mailbox in percent-encoding can get too long for that.
func canonical(uri string) (latchkey.AccountID, bool) {
	a, err := latchkey.ParseAddress(uri)
	if err != nil {
		return "", false
	}
	again, err := latchkey.ParseAddress(a.Identity())
	return latchkey.AccountID(a.Identity()), err == nil && again.Identity() == a.Identity()
}

// escaped percent-encodes what is not unreserved in a user part; canonical decodes what needs
// no encoding.
func escaped(user string) string {
	const hex = "0123456789ABCDEF"
	var b []byte
	for i := range len(user) {
		c := user[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' {
			b = append(b, c)
			continue
		}
		b = append(b, '%', hex[c>>4], hex[c&15])
	}
	return string(b)
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
