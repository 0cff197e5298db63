package directory

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// What a file may ask for. A check of a password must neither take seconds nor fill the memory.
const (
	maxBcryptCost  = 14
	maxArgonMemory = 256 << 10 // KiB, of one check
	maxArgonWork   = 1 << 20   // KiB times passes
	maxArgonPasses = 64
	maxPassword    = 1024 // bytes
	bcryptReads    = 72   // bytes of a password; bcrypt knows no more
)

// hash recognises one password.
type hash interface {
	matches(password string) bool
	String() string // as it stands in the file
}

// decoy stands in where the file has no password at all.
var decoy hash = bcryptHash("$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy")

// HashPassword makes the text for the password field: bcrypt, or argon2id for a password that is longer
// than the 72 bytes that bcrypt reads.
func HashPassword(password string) (string, error) {
	switch {
	case password == "":
		return "", errors.New("the password is empty")
	case len(password) > maxPassword:
		return "", fmt.Errorf("the password is longer than %d bytes", maxPassword)
	case len(password) <= bcryptReads:
		h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
		return string(h), err
	}
	// RFC 9106 §4 wants more memory than a busy front door has; these are OWASP's least for logins.
	a := argonHash{memory: 19 << 10, passes: 2, lanes: 1, salt: make([]byte, 16)}
	_, _ = rand.Read(a.salt) // never fails (crypto/rand)
	a.sum = a.of(password, 32)
	return a.encode(), nil
}

// parseHash reads a password field. It says what is wrong without repeating the hash.
func parseHash(s string) (hash, error) {
	if m := bcryptForm.FindStringSubmatch(s); m != nil {
		cost, _ := strconv.Atoi(m[1])
		if cost < bcrypt.MinCost || cost > maxBcryptCost {
			return nil, fmt.Errorf("bcrypt cost %d is not between %d and %d", cost, bcrypt.MinCost, maxBcryptCost)
		}
		return bcryptHash(s), nil
	}
	if m := argonForm.FindStringSubmatch(s); m != nil {
		return parseArgon(s, m)
	}
	return nil, errors.New("is not a bcrypt or argon2id hash; make one with latchkey hash-password")
}

type bcryptHash string

var bcryptForm = regexp.MustCompile(`^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$`)

func (h bcryptHash) matches(password string) bool {
	return bcrypt.CompareHashAndPassword([]byte(h), []byte(password)) == nil
}

func (h bcryptHash) String() string { return string(h) }

// argonHash is argon2id in the PHC string format, version 19 (RFC 9106 §3.1: 0x13).
type argonHash struct {
	memory, passes uint32 // KiB, number
	lanes          uint8
	salt, sum      []byte
	text           string
}

var argonForm = regexp.MustCompile(`^\$argon2id\$v=19\$m=(\d{1,9}),t=(\d{1,9}),p=(\d{1,9})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$`)

func parseArgon(s string, m []string) (hash, error) {
	var number [3]uint64
	for i := range number {
		number[i], _ = strconv.ParseUint(m[i+1], 10, 32)
	}
	memory, passes, lanes := number[0], number[1], number[2]
	switch {
	case lanes < 1 || lanes > 16:
		return nil, errors.New("argon2id p is not between 1 and 16")
	case memory < 8*lanes: // RFC 9106 §3.1
		return nil, errors.New("argon2id m is less than 8 times p")
	case passes < 1 || passes > maxArgonPasses || memory > maxArgonMemory || memory*passes > maxArgonWork:
		return nil, fmt.Errorf("argon2id asks for too much; m goes up to %d, m times t up to %d, t up to %d", maxArgonMemory, maxArgonWork, maxArgonPasses)
	}
	a := argonHash{memory: uint32(memory), passes: uint32(passes), lanes: uint8(lanes), text: s}
	var errSalt, errSum error
	a.salt, errSalt = base64.RawStdEncoding.DecodeString(m[4])
	a.sum, errSum = base64.RawStdEncoding.DecodeString(m[5])
	if errSalt != nil || errSum != nil || len(a.salt) < 8 || len(a.salt) > 64 || len(a.sum) < 16 || len(a.sum) > 64 {
		return nil, errors.New("argon2id salt or sum is not base64 of 8 to 64 and 16 to 64 bytes")
	}
	return a, nil
}

func (a argonHash) of(password string, n int) []byte {
	return argon2.IDKey([]byte(password), a.salt, a.passes, a.memory, a.lanes, uint32(n))
}

func (a argonHash) matches(password string) bool {
	return subtle.ConstantTimeCompare(a.of(password, len(a.sum)), a.sum) == 1
}

func (a argonHash) encode() string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", a.memory, a.passes, a.lanes, b64(a.salt), b64(a.sum))
}

func (a argonHash) String() string { return a.text }
