package gateway

import (
	"log/slog"
	"net/netip"
	"net/url"
	"time"

	"latchkey"
	"latchkey/guest"
	"latchkey/registrar"
)

// Config is a whole, valid configuration. Load makes it; its fields say what was
// meant, so that nobody behind it parses option text again.
type Config struct {
	Data            string          // path of the SQLite file
	PublicURL       string          // base of invitation links without a final slash; "": the address of http-listen, see BaseURL
	HTTPListen      string          // host:port
	HTTPTLSCert     string          // path of a PEM file; "" with HTTPTLSKey: plain HTTP
	HTTPTLSKey      string          // path of a PEM file
	AdminListen     string          // host:port
	Domain          string          // SIP domain of temporary accounts
	AccountScheme   guest.Scheme    // how an account is made from an identifier (R9)
	AccountLifetime time.Duration   // validity of a relation
	KeepAccount     bool            // on-logout keep: the account outlives its last relation
	LinkStyle       guest.LinkStyle // where the password stands in a link
	InvitePolicy    guest.Policy    // who may invite (R3)
	RequireOnline   bool            // guests may send only while the inviter is online (R25)

	SIPListen          []string // "udp:host:port", also tcp:, tls:, ws: and wss:, as sipua.Options takes them
	SIPTLSCert         string   // path of a PEM file; "" with SIPTLSKey: no certificate to show
	SIPTLSKey          string   // path of a PEM file
	SIPTLSCA           string   // path of a PEM file with those who vouch for peers; "": the system's
	SIPTLSClientAuth   bool     // who connects by TLS must show a certificate
	SIPCore            string   // SIP URI of the first hop into the core
	SIPTrusted         []string // hosts whose P-Asserted-Identity is believed
	SIPIOI             string   // our network's name in P-Charging-Vector; "": none is put in
	SIPResponseSource  string   // value of Response-Source; "": none
	SIPAuth            registrar.Auth
	SIPRegisterExpires time.Duration
	IMServer           string         // SIP URI; the core's where the option says nothing
	FileServer         string         // SIP URI; the core's where the option says nothing
	MSRPListen         []string       // "tcp:host:port" or "tls:host:port"; calls offer the first one
	MSRPPeers          []netip.Prefix // networks that MSRP may connect to; nil: the default policy
	Anchor             AnchorMode     // whose MSRP goes through the gateway

	Directory string  // path of the directory file
	Mail      *Mail   // SMTP server; nil: invitations can't be mailed
	MailFrom  string  // sender address
	Log       Logging // what is logged and how
}

// Mail is the SMTP server that takes invitations.
type Mail struct {
	TLS      bool   // smtps: TLS from the first byte; else STARTTLS where it is offered
	HostPort string // 25 or 465 where the option names no port
	User     string
	Password latchkey.Secret
}

// Logging says what is logged and how.
type Logging struct {
	Level slog.Level
	JSON  bool
}

// HTTPS reports whether the guest's HTTP server speaks TLS.
func (c Config) HTTPS() bool { return c.HTTPTLSCert != "" }

// BaseURL is the base of invitation links when the HTTP server listens on listen, the
// address as bound. It has no final slash.
func (c Config) BaseURL(listen string) string {
	if c.PublicURL != "" {
		return c.PublicURL
	}
	u := url.URL{Scheme: "http", Host: listen}
	if c.HTTPS() {
		u.Scheme = "https"
	}
	return u.String()
}

// Option is one row of the option list. Flags, --help, environment, file keys and the
// reference page all come from it.
type Option struct {
	Name    string
	Default string // text of the default, read like any other value; "" for none
	Meaning string // the default in words where text doesn't say it, for people only
	Help    string // one sentence without a final dot
	Example string // a value that works
	Secret  bool   // @PATH is read from a file, and messages don't repeat the value
	List    bool   // a YAML list is as good as commas
	Bool    bool   // as a flag it needs no value
	set     func(*Config, string) error
}

// Options lists the options in the order in which people read them.
func Options() []Option {
	return []Option{
		{Name: "config", Help: "YAML file with options as keys", Example: "latchkey.yaml"},
		{Name: "data", Default: "latchkey.db", Help: "path of the SQLite file that keeps everything", Example: "/var/lib/latchkey/latchkey.db", set: setData},
		{Name: "public-url", Meaning: "http://HTTP-LISTEN", Help: "base of invitation links", Example: "https://chat.example.com", set: setPublicURL},
		{Name: "http-listen", Default: "127.0.0.1:8080", Help: "address of the HTTP server for guests and inviters", Example: "0.0.0.0:8080", set: hostPort(func(c *Config) *string { return &c.HTTPListen })},
		{Name: "http-tls-cert", Help: "PEM file with the certificate chain; with http-tls-key http-listen speaks HTTPS", Example: "/etc/latchkey/tls.crt", set: text(func(c *Config) *string { return &c.HTTPTLSCert })},
		{Name: "http-tls-key", Help: "PEM file with the private key", Example: "/etc/latchkey/tls.key", set: text(func(c *Config) *string { return &c.HTTPTLSKey })},
		{Name: "admin-listen", Default: "127.0.0.1:8081", Help: "address of /healthz, /readyz and /metrics; never public", Example: "127.0.0.1:8081", set: hostPort(func(c *Config) *string { return &c.AdminListen })},
		{Name: "domain", Default: "guest.example", Help: "SIP domain of temporary accounts", Example: "guest.example.com", set: setDomain},
		{Name: "account-scheme", Default: "mapped", Help: "how accounts are named: mapped (sip:b_at_cc.com@DOMAIN), identifier (sip:b@cc.com) or serial (sip:g1@DOMAIN)", Example: "serial", set: setAccountScheme},
		{Name: "account-lifetime", Default: "168h", Help: "validity of an invitation and of what it allows", Example: "72h", set: duration(time.Minute, func(c *Config) *time.Duration { return &c.AccountLifetime })},
		{Name: "on-logout", Default: "delete", Help: "what becomes of an account when its last relation ends: delete or keep", Example: "keep", set: setOnLogout},
		{Name: "link-style", Default: "query", Help: "where a link carries the password: query (?passwd=) or fragment (#passwd=, never sent to a server)", Example: "fragment", set: setLinkStyle},
		{Name: "invite-policy", Default: "valid", Help: "who may invite: any subscriber, valid (active) ones, or level:N (active ones of level N and up)", Example: "level:3", set: setInvitePolicy},
		{Name: "require-online", Default: "false", Help: "guests may send only while the inviter is online", Example: "true", Bool: true, set: setRequireOnline},
		{Name: "sip-listen", Default: "udp:127.0.0.1:5080,tcp:127.0.0.1:5080", Help: "list of SIP listeners, udp:, tcp:, tls:, ws: or wss: and an address", Example: "udp:192.0.2.10:5060,tls:192.0.2.10:5061", List: true, set: setSIPListen},
		{Name: "sip-tls-cert", Help: "PEM file with the certificate chain of SIP over TLS, shown to who connects and to whom we connect; for tls: and wss: of sip-listen it must be there", Example: "/etc/latchkey/sip.crt", set: text(func(c *Config) *string { return &c.SIPTLSCert })},
		{Name: "sip-tls-key", Help: "PEM file with the private key", Example: "/etc/latchkey/sip.key", set: text(func(c *Config) *string { return &c.SIPTLSKey })},
		{Name: "sip-tls-ca", Meaning: "those of the system", Help: "PEM file with the authorities that vouch for SIP peers", Example: "/etc/latchkey/sip-ca.crt", set: text(func(c *Config) *string { return &c.SIPTLSCA })},
		{Name: "sip-tls-client-auth", Default: "false", Help: "who connects by TLS must show a certificate of these authorities; where its name is in sip-trusted, the peer is believed", Example: "true", Bool: true, set: setSIPTLSClientAuth},
		{Name: "sip-core", Default: "sip:127.0.0.1:5060", Help: "first hop into the core; without port and transport, NAPTR and SRV records tell them and the servers (RFC 3263)", Example: "sips:core.example.com", set: setSIPCore},
		{Name: "sip-trusted", Meaning: "host of sip-core", Help: "list of hosts whose P-Asserted-Identity is believed: addresses, and names, which stand for the addresses of their servers and for certificates", Example: "192.0.2.1,core.example.com", List: true, set: setSIPTrusted},
		{Name: "sip-ioi", Help: "name of this network in the type 3 orig-ioi and term-ioi of P-Charging-Vector; without it those of the core stay", Example: "as.example.com", set: token(func(c *Config) *string { return &c.SIPIOI })},
		{Name: "sip-response-source", Help: "value of Response-Source in refusals of this server; without it there is none", Example: "<urn:3gpp:fe:as>", set: token(func(c *Config) *string { return &c.SIPResponseSource })},
		{Name: "sip-auth", Default: "none", Help: "how accounts authenticate in the core: none, shared:SECRET (every account has this password) or ephemeral:SECRET (time-limited names)", Example: "shared:@/etc/latchkey/sip-secret", Secret: true, set: setSIPAuth},
		{Name: "sip-register-expires", Default: "600000s", Help: "Expires that a REGISTER asks for", Example: "3600s", set: duration(time.Second, func(c *Config) *time.Duration { return &c.SIPRegisterExpires })},
		{Name: "im-server", Meaning: "same as sip-core", Help: "interaction server for messages", Example: "sip:im.example.com", set: hop(func(c *Config) *string { return &c.IMServer })},
		{Name: "file-server", Meaning: "same as sip-core", Help: "interaction server for files", Example: "sip:ft.example.com", set: hop(func(c *Config) *string { return &c.FileServer })},
		{Name: "msrp-listen", Default: "tcp:127.0.0.1:2855", Help: "list of MSRP listeners, tcp: or tls: and an address; calls offer the first one and, where that gets 488, the first tcp:; answers take TLS where it is offered; tls: shows the certificate of http-tls-cert, or a self-signed one by its fingerprint", Example: "tcp:192.0.2.10:2855,tls:192.0.2.10:2856", List: true, set: setMSRPListen},
		{Name: "msrp-peers", Meaning: "public addresses, and, where sip-core is loopback or private, addresses of that same class; never link-local", Help: "list of networks (CIDR) that MSRP may connect to", Example: "192.0.2.0/24,2001:db8::/32", List: true, set: setMSRPPeers},
		{Name: "anchor", Default: "always", Help: "whose MSRP goes through the gateway where it is an application server in the path: always (everybody's), or guests or never (only what ends here; other calls are signalling alone)", Example: "never", set: setAnchor},
		{Name: "directory", Help: "who is a registered user: file:PATH", Example: "file:users.yaml", set: setDirectory},
		{Name: "mail", Help: "SMTP server that takes invitations: smtp:// (STARTTLS where offered) or smtps://", Example: "smtp://latchkey:@/etc/latchkey/mail-password@mail.example.com:587", Secret: true, set: setMail},
		{Name: "mail-from", Help: "sender address of invitations", Example: "invitations@example.com", set: setMailFrom},
		{Name: "log-level", Default: "info", Help: "least level that is logged: debug, info, warn or error", Example: "debug", set: setLogLevel},
		{Name: "log-format", Default: "text", Help: "text or json", Example: "json", set: setLogFormat},
	}
}

// missing names what this version does not do yet, and what can be done instead. Who sets
// one is told so; nothing is accepted and then ignored.
func missing() map[string]string {
	return map[string]string{
		"interaction-mode": "leave it out: chats are INVITE and MSRP",
		"sms":              "invite by e-mail, for example mail: smtp://127.0.0.1:25",
		"mms":              "invite by e-mail, for example mail: smtp://127.0.0.1:25",
	}
}
