package mail

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/emersion/go-msgauth/dkim"
)

// Signer signs mails by DKIM (RFC 6376), for senders whose own mail server doesn't.
type Signer struct {
	Domain, Selector string
	Key              crypto.Signer
}

// signed are the fields under a signature. RFC 8058 §4: those of List-Unsubscribe must be.
var signed = []string{"From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Auto-Submitted", "List-Unsubscribe", "List-Unsubscribe-Post"}

// NewSigner reads the key, RSA or Ed25519 (RFC 8463), from PEM.
func NewSigner(domain, selector string, key []byte) (*Signer, error) {
	block, _ := pem.Decode(key)
	if block == nil {
		return nil, errors.New("the key is not PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		if parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
			return nil, errors.New("the key is neither PKCS #8 nor PKCS #1")
		}
	}
	switch k := parsed.(type) {
	case *rsa.PrivateKey:
		return &Signer{domain, selector, k}, nil
	case ed25519.PrivateKey:
		return &Signer{domain, selector, k}, nil
	}
	return nil, fmt.Errorf("the key is of no kind that DKIM knows: %T", parsed)
}

// sign puts the signature before a mail.
func (s *Signer) sign(text []byte) ([]byte, error) {
	var out bytes.Buffer
	err := dkim.Sign(&out, bytes.NewReader(text), &dkim.SignOptions{
		Domain: s.Domain, Selector: s.Selector, Signer: s.Key, Hash: crypto.SHA256,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed, HeaderKeys: signed,
	})
	return out.Bytes(), err
}
