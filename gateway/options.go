package gateway

import (
	"cmp"
	"log/slog"
	"net/netip"
	"net/url"
	"time"

	"latchkey"
	"latchkey/conversation"
	"latchkey/guest"
	"latchkey/notify/mail"
	"latchkey/push"
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
	HTTPTrusted     []netip.Prefix  // proxies whose word on clients and inviters is believed
	HTTPRate        float64         // requests a second of one client address, and of one person; 0: no limit
	HTTPConnections int             // connections of http-listen at a time
	HTTPOrigins     []string        // origins of other pages that may use the interface
	AdminListen     string          // host:port
	Domain          string          // SIP domain of temporary accounts
	AccountScheme   guest.Scheme    // how an account is made from an identifier (R9)
	AccountLifetime time.Duration   // validity of a relation
	KeepAccount     bool            // on-logout keep: the account outlives its last relation
	LinkStyle       guest.LinkStyle // where the password stands in a link
	InvitePolicy    guest.Policy    // who may invite (R3)
	InviteBySIP     bool            // who calls somebody unregistered by SIP invites them (R1)
	InviteTargets   guest.Targets   // who may be invited (S10)
	InviteQuota     latchkey.Quota  // how many invitations there may be (F18)
	OptedOut        guest.OptedOut  // what inviters of somebody are told who wants no invitations
	NoticeMerge     time.Duration   // notices wait so long for others to the same person
	RequireOnline   bool            // guests may send only while the inviter is online (R25)

	SIPListen          []string      // "udp:host:port", also tcp:, tls:, ws: and wss:, as sipua.Options takes them
	SIPTLSCert         string        // path of a PEM file; "" with SIPTLSKey: no certificate to show
	SIPTLSKey          string        // path of a PEM file
	SIPTLSCA           string        // path of a PEM file with those who vouch for peers; "": the system's
	SIPTLSClientAuth   bool          // who connects by TLS must show a certificate
	SIPT1, SIPT2       time.Duration // of transactions, see SetTimers
	SIPT4              time.Duration
	ServeAll           bool     // no request is refused or held back for overload; no option sets it, but tests on slow machines
	SIPCore            string   // SIP URI of the first hop into the core
	SIPStandIns        []string // SIP URIs of hops that take over from it, in their order
	SIPTrusted         []string // hosts whose P-Asserted-Identity is believed
	SIPIOI             string   // our network's name in P-Charging-Vector; "": none is put in
	SIPResponseSource  string   // value of Response-Source; "": none
	SIPAuth            registrar.Auth
	SIPRegisterExpires time.Duration
	GuestMode          GuestMode          // how the core has the guests
	SCSCF              string             // SIP URI of the S-CSCF for guests that nobody registers; "": what the core tells, else SIPCore
	AssertedService    bool               // requests of such guests carry P-Asserted-Service
	RegEvent           registrar.RegEvent // when the core is asked who is registered
	KeepInviters       bool               // inviter-logout keep: relations outlive their inviter's deregistration
	SIPIdentity        string             // own SIP URI; "": see Identity
	StreamsOnly        bool               // guest-reachable stream: OPTIONS for a guest without a stream get 480
	IMServer           string             // SIP URI; the core's where the option says nothing
	FileServer         string             // SIP URI; the core's where the option says nothing
	SkipInteraction    bool               // accounts are registered at the core alone (R4)
	Pager              bool               // interaction-mode pager: messages go by SIP MESSAGE (R14)
	MSRPListen         []string           // "tcp:host:port", also tls:, ws: and wss:; calls offer the first one
	WSOrigins          []string           // of Web pages that may connect to the ws: and wss: listeners, beside those of their own host
	MSRPPeers          []netip.Prefix     // networks that MSRP may connect to; nil: the default policy
	Anchor             AnchorMode         // whose MSRP goes through the gateway

	FileStore    string                 // directory of the files' bytes; "": FileBucket
	FileBucket   *FileBucket            // the bucket of the files' bytes; nil: FileStore
	FileMaxSize  int64                  // bytes of one file
	FileQuota    int64                  // bytes of one guest's files; -1: no limit
	FileLifetime time.Duration          // a file is erased after it
	FilePeers    []netip.Prefix         // networks beside public addresses where inviters' files may be fetched
	FileWays     []conversation.FileWay // how files go to inviters, the preferred way first
	FileScan     FileScan               // who looks at files; zero: nobody
	FileUpload   UploadMode             // how inviters' phones may put files on the content server
	FileUploadTo string                 // URL of the content server as phones know it; "": below PublicURL

	Push        push.Telling   // how much guests who are away are told by their browsers' push services; "": they aren't called
	PushKey     *push.Key      // signs the calls; nil: one of the data file's own
	PushContact string         // mailto: or https: URL for push services; "": see pushContact
	PushPeers   []netip.Prefix // networks beside public addresses where push services may stand
	PushCA      string         // path of a PEM file with the authorities for push services' certificates; "": the system's

	Directory        string         // path of the directory file; "": DirectoryHTTP
	DirectoryHTTP    *DirectoryHTTP // the directory over HTTP; nil: Directory
	Mail             *Mail          // SMTP server; nil: invitations can't be mailed
	MailFrom         string         // sender address
	MailCA           string         // path of a PEM file with the authorities for the mail server's certificate; "": the system's
	MailBounce       *MailBounce    // where reports on mails are taken; nil: nowhere
	MailBounceDomain string         // of the addresses that reports go to; that of mail-from where the option says nothing
	MailDKIM         *MailDKIM      // signature of mails; nil: none
	Templates        string         // folder of texts that replace the built-in ones; ""
	SMS              *SMS           // SMS centres; nil: invitations can't go by SMS
	MMS              *MMS           // multimedia message centre; nil: invitations can't go by MMS
	Log              Logging        // what is logged and how
}

// DirectoryHTTP is a directory that another program serves.
type DirectoryHTTP struct {
	URL      string // base, without credentials and final slash
	User     string // with Password for Basic
	Password latchkey.Secret
	Token    latchkey.Secret // for Bearer
}

// Mail is the SMTP server that takes invitations.
type Mail struct {
	TLS      bool   // smtps: TLS from the first byte; else STARTTLS where it is offered
	HostPort string // 25 or 465 where the option names no port
	User     string
	Password latchkey.Secret
	Auth     mail.Auth // "": the best that the server offers
	File     string    // path that an access token is read from anew for each login; ""
}

// MailBounce is a listener for reports on mails.
type MailBounce struct {
	LMTP   bool // else SMTP
	Listen string
}

// MailDKIM is a key that mails are signed with.
type MailDKIM struct{ Selector, Domain, Key string } // Key is a path

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

// Identity is the gateway's own SIP URI, in whose name it asks the core.
func (c Config) Identity() string { return cmp.Or(c.SIPIdentity, "sip:latchkey@"+c.Domain) }

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
		{Name: "http-trusted", Meaning: "none", Help: "list of networks (CIDR) of proxies in front of http-listen; their X-3GPP-Asserted-Identity names the inviter, their Forwarded or X-Forwarded-For the client", Example: "192.0.2.8/32,2001:db8:1::/64", List: true, set: setHTTPTrusted},
		{Name: "http-rate", Default: "200", Help: "how many requests a second one client address may make in the long run, and as many one inviter or guest, ten seconds' worth at once; or none for no limit", Example: "50", set: setHTTPRate},
		{Name: "http-connections", Default: "10000", Help: "how many connections http-listen has at a time, a quarter of them from one client address; quiet ones make room for new ones", Example: "50000", set: setHTTPConnections},
		{Name: "http-origins", Meaning: "none", Help: "list of origins of Web pages, beside the gateway's own, that may use the HTTP interface by Basic (CORS)", Example: "https://chat.example.com", List: true, set: setHTTPOrigins},
		{Name: "admin-listen", Default: "127.0.0.1:8081", Help: "address of /healthz, /readyz, /metrics and /templates (what invitations look like); never public", Example: "127.0.0.1:8081", set: hostPort(func(c *Config) *string { return &c.AdminListen })},
		{Name: "domain", Default: "guest.example", Help: "SIP domain of temporary accounts", Example: "guest.example.com", set: setDomain},
		{Name: "account-scheme", Default: "mapped", Help: "how accounts are named: mapped (sip:b_at_cc.com@DOMAIN), identifier (sip:b@cc.com), serial (sip:g1@DOMAIN) or directory (an HTTP directory allots them)", Example: "serial", set: setAccountScheme},
		{Name: "account-lifetime", Default: "168h", Help: "validity of an invitation and of what it allows", Example: "72h", set: duration(time.Minute, func(c *Config) *time.Duration { return &c.AccountLifetime })},
		{Name: "on-logout", Default: "delete", Help: "what becomes of an account when its last relation ends: delete or keep", Example: "keep", set: setOnLogout},
		{Name: "link-style", Default: "query", Help: "where a link carries the password: query (?passwd=) or fragment (#passwd=, never sent to a server)", Example: "fragment", set: setLinkStyle},
		{Name: "invite-policy", Default: "valid", Help: "who may invite: any subscriber, valid (active) ones, or level:N (active ones of level N and up)", Example: "level:3", set: setInvitePolicy},
		{Name: "invite-by-sip", Default: "true", Help: "whether a registered user's SIP INVITE for a chat, or MESSAGE, to somebody who is not registered is an invitation; it must come from a host of sip-trusted", Example: "false", Bool: true, set: boolean(func(c *Config) *bool { return &c.InviteBySIP })},
		{Name: "invite-allow", Meaning: "everybody", Help: "list of those who may be invited, and no others: beginnings of numbers (+86), domains of mailboxes (@example.com) and all below one (*.example.com)", Example: "+49,@example.com,*.example.com", List: true, set: setTargets(func(c *Config) *[]guest.Target { return &c.InviteTargets.Allow })},
		{Name: "invite-deny", Meaning: "nobody", Help: "list of those who may not be invited, in the form of invite-allow; it wins over that", Example: "+4490,@example.org", List: true, set: setTargets(func(c *Config) *[]guest.Target { return &c.InviteTargets.Deny })},
		{Name: "quota-inviter", Default: "1000/24h", Help: "how many invitations one inviter may send in a time, or none for no limit", Example: "50/1h", set: setQuota(func(c *Config) (*int, *time.Duration) { return &c.InviteQuota.PerInviter, &c.InviteQuota.InviterWindow })},
		{Name: "quota-target", Default: "10/24h", Help: "how many invitations one person may get in a time, from all inviters together, or none", Example: "3/24h", set: setQuota(func(c *Config) (*int, *time.Duration) { return &c.InviteQuota.PerTarget, &c.InviteQuota.TargetWindow })},
		{Name: "quota-total", Default: "none", Help: "how many invitations all inviters together may send in a time, or none", Example: "100000/24h", set: setQuota(func(c *Config) (*int, *time.Duration) { return &c.InviteQuota.Total, &c.InviteQuota.TotalWindow })},
		{Name: "quota-cooldown", Default: "1h", Help: "how long nobody may invite a person after an invitation to them has failed for good; 0s: at once again", Example: "24h", set: duration(0, func(c *Config) *time.Duration { return &c.InviteQuota.CoolDown })},
		{Name: "opted-out", Default: "silent", Help: "what an inviter is told who invites somebody who wants no invitations: silent (what is told of everybody, and nothing is sent) or refuse (403)", Example: "refuse", set: setOptedOut},
		{Name: "notice-merge", Default: "0s", Help: "how long an invitation waits for others to the same person, to go as one message that names all inviters; 0s: each goes at once", Example: "2m", set: duration(0, func(c *Config) *time.Duration { return &c.NoticeMerge })},
		{Name: "require-online", Default: "false", Help: "guests may send only while the inviter is online", Example: "true", Bool: true, set: boolean(func(c *Config) *bool { return &c.RequireOnline })},
		{Name: "sip-listen", Default: "udp:127.0.0.1:5080,tcp:127.0.0.1:5080", Help: "list of SIP listeners, udp:, tcp:, tls:, ws: or wss: and an address", Example: "udp:192.0.2.10:5060,tls:192.0.2.10:5061", List: true, set: setSIPListen},
		{Name: "sip-tls-cert", Help: "PEM file with the certificate chain of SIP over TLS, shown to who connects and to whom we connect; for tls: and wss: of sip-listen it must be there", Example: "/etc/latchkey/sip.crt", set: text(func(c *Config) *string { return &c.SIPTLSCert })},
		{Name: "sip-tls-key", Help: "PEM file with the private key", Example: "/etc/latchkey/sip.key", set: text(func(c *Config) *string { return &c.SIPTLSKey })},
		{Name: "sip-tls-ca", Meaning: "those of the system", Help: "PEM file with the authorities that vouch for SIP peers", Example: "/etc/latchkey/sip-ca.crt", set: text(func(c *Config) *string { return &c.SIPTLSCA })},
		{Name: "sip-tls-client-auth", Default: "false", Help: "who connects by TLS must show a certificate of these authorities; where its name is in sip-trusted, the peer is believed", Example: "true", Bool: true, set: setSIPTLSClientAuth},
		{Name: "sip-t1", Default: "500ms", Help: "estimate of a round trip to SIP peers, T1, of which the timers of transactions come: a request is repeated after it, and given up after 64 times it; 2s towards a P-CSCF (TS 24.229 table 7.7.1)", Example: "2s", set: duration(10*time.Millisecond, func(c *Config) *time.Duration { return &c.SIPT1 })},
		{Name: "sip-t2", Default: "4s", Help: "longest time between repeats of a SIP request other than INVITE, and of responses to INVITE, T2; 16s towards a P-CSCF", Example: "16s", set: duration(10*time.Millisecond, func(c *Config) *time.Duration { return &c.SIPT2 })},
		{Name: "sip-t4", Default: "5s", Help: "how long a SIP message may be on its way, T4; 17s towards a P-CSCF", Example: "17s", set: duration(10*time.Millisecond, func(c *Config) *time.Duration { return &c.SIPT4 })},
		{Name: "sip-core", Default: "sip:127.0.0.1:5060", Help: "first hop into the core; without port and transport, NAPTR and SRV records tell them and the servers (RFC 3263). In a list, each next one takes over while those before it fail", Example: "sip:core1.example.com,sip:core2.example.com", List: true, set: setSIPCore},
		{Name: "sip-trusted", Meaning: "hosts of sip-core", Help: "list of hosts whose P-Asserted-Identity is believed: addresses, and names, which stand for the addresses of their servers and for certificates", Example: "192.0.2.1,core.example.com", List: true, set: setSIPTrusted},
		{Name: "sip-ioi", Help: "name of this network in the type 3 orig-ioi and term-ioi of P-Charging-Vector; without it those of the core stay", Example: "as.example.com", set: token(func(c *Config) *string { return &c.SIPIOI })},
		{Name: "sip-response-source", Help: "value of Response-Source in refusals of this server; without it there is none", Example: "<urn:3gpp:fe:as>", set: token(func(c *Config) *string { return &c.SIPResponseSource })},
		{Name: "sip-auth", Default: "none", Help: "how accounts authenticate in the core: none, shared:SECRET (every account has this password), ephemeral:SECRET (time-limited names) or directory (the password that came with the account)", Example: "shared:@/etc/latchkey/sip-secret", Secret: true, set: setSIPAuth},
		{Name: "sip-register-expires", Default: "600000s", Help: "Expires that a REGISTER asks for", Example: "3600s", set: duration(time.Second, func(c *Config) *time.Duration { return &c.SIPRegisterExpires })},
		{Name: "guest-mode", Default: "register", Help: "how the core has the guests: register (each account is registered, as a user agent does) or as (no REGISTER: the core routes the domain here, and takes requests from here on behalf of guests)", Example: "as", set: setGuestMode},
		{Name: "scscf", Meaning: "what a third-party REGISTER named last, else sip-core", Help: "S-CSCF that requests of guests go to under guest-mode as", Example: "sip:scscf.example.com:6060", set: hop(func(c *Config) *string { return &c.SCSCF })},
		{Name: "asserted-service", Default: "true", Help: "requests of guests under guest-mode as, and those in the signalling path that don't, say by P-Asserted-Service which service they are for", Example: "false", Bool: true, set: boolean(func(c *Config) *bool { return &c.AssertedService })},
		{Name: "guest-reachable", Default: "always", Help: "when OPTIONS for a guest get 200: always, or stream (while the guest has a page or stream open, else 480)", Example: "stream", set: setGuestReachable},
		{Name: "sip-identity", Meaning: "sip:latchkey@DOMAIN", Help: "the gateway's own SIP URI, in whose name it subscribes to the registrations of inviters", Example: "sip:latchkey.as.example.com", set: hop(func(c *Config) *string { return &c.SIPIdentity })},
		{Name: "reg-event", Default: "confirm", Help: "when the core is asked by SUBSCRIBE who is registered: confirm (where a third-party REGISTER says that an inviter is gone), standing (for every inviter and guest), or none (such a REGISTER is believed as it is)", Example: "standing", set: setRegEvent},
		{Name: "inviter-logout", Default: "end", Help: "what becomes of an inviter's relations when the core says that the inviter has deregistered: end or keep", Example: "keep", set: setInviterLogout},
		{Name: "im-server", Meaning: "same as sip-core", Help: "interaction server for messages", Example: "sip:im.example.com", set: hop(func(c *Config) *string { return &c.IMServer })},
		{Name: "file-server", Meaning: "same as sip-core", Help: "interaction server for files", Example: "sip:ft.example.com", set: hop(func(c *Config) *string { return &c.FileServer })},
		{Name: "interaction-skip", Default: "false", Help: "accounts that the directory allots are registered at the core alone, not at the interaction servers", Example: "true", Bool: true, set: boolean(func(c *Config) *bool { return &c.SkipInteraction })},
		{Name: "interaction-mode", Default: "session", Help: "how messages go to inviters: session (INVITE and MSRP) or pager (SIP MESSAGE; above 1300 bytes by a call for the one message)", Example: "pager", set: setInteractionMode},
		{Name: "msrp-listen", Default: "tcp:127.0.0.1:2855", Help: "list of MSRP listeners, tcp:, tls:, ws: or wss: and an address; calls offer the first one and, where that gets 488, the first tcp:, then the first WebSocket one; answers take TLS where it is offered, and a WebSocket where the caller's path says ws; tls: and wss: show the certificate of http-tls-cert, or a self-signed one by its fingerprint, which no browser takes; the host of ws: and wss: stands in paths, a name too", Example: "tcp:192.0.2.10:2855,tls:192.0.2.10:2856,wss:chat.example.com:2857", List: true, set: setMSRPListen},
		{Name: "ws-origins", Meaning: "none", Help: "list of origins of Web pages, beside those of the listener's own host and port, that may connect to the ws: and wss: addresses of sip-listen and msrp-listen", Example: "https://chat.example.com", List: true, set: setWSOrigins},
		{Name: "msrp-peers", Meaning: "public addresses, and, where sip-core is loopback or private, addresses of that same class; never link-local", Help: "list of networks (CIDR) that MSRP may connect to", Example: "192.0.2.0/24,2001:db8::/32", List: true, set: setMSRPPeers},
		{Name: "anchor", Default: "always", Help: "whose MSRP goes through the gateway where it is an application server in the path: always (everybody's), or guests or never (only what ends here; other calls are signalling alone)", Example: "never", set: setAnchor},
		{Name: "file-store", Meaning: "DATA.files", Help: "where the bytes of files are kept, and nothing else may be: a directory, or a bucket of an S3-compatible store, s3:// with endpoint behind a question mark; see docs/howto/file-store.md", Example: "s3://KEY-ID:@/etc/latchkey/s3-secret@bucket/latchkey?endpoint=https://s3.example.com", Secret: true, set: setFileStore},
		{Name: "file-max-size", Default: "100MiB", Help: "how large a file may be, in either direction", Example: "1GiB", set: size(func(c *Config) *int64 { return &c.FileMaxSize })},
		{Name: "file-quota", Default: "1GiB", Help: "how large all files of one guest may be together, or none for no limit", Example: "500MiB", set: setFileQuota},
		{Name: "file-lifetime", Default: "168h", Help: "how long a file is kept; the end of the invitation erases it earlier", Example: "24h", set: duration(time.Minute, func(c *Config) *time.Duration { return &c.FileLifetime })},
		{Name: "file-peers", Meaning: "the networks of msrp-peers", Help: "list of networks (CIDR), beside public addresses, where files of inviters may be fetched by HTTP; never link-local", Example: "192.0.2.0/24", List: true, set: setFilePeers},
		{Name: "file-ways", Default: "msrp,http", Help: "list of the ways by which files go to inviters, the preferred one first: msrp (in a call of their own) and http (fetched from public-url); the inviter's phone must know the way", Example: "http,msrp", List: true, set: setFileWays},
		{Name: "file-scan", Help: "virus scanner that sees each file before anybody else does: clamd:HOST:PORT or clamd:/PATH of its socket (ClamAV), or icap://HOST[:PORT]/SERVICE, icaps:// for TLS; see docs/howto/file-scan.md", Example: "clamd:127.0.0.1:3310", set: setFileScan},
		{Name: "file-upload", Default: "basic", Help: "how inviters' phones prove who they are where they upload files, at PUBLIC-URL/rcsgw/ft (RCS file transfer over HTTP): basic (the directory's credentials, or X-3GPP-Asserted-Identity of http-trusted), digest (the same, by Digest; the directory is a file with digest fields, or sip-auth is ephemeral), asserted (the latter alone) or none (no uploads)", Example: "asserted", set: setFileUpload},
		{Name: "file-upload-url", Meaning: "PUBLIC-URL/rcsgw/ft", Help: "address of that content server as phones are provisioned with it (ftHTTPCSURI), where a proxy gives it another one", Example: "https://ft.example.com/upload", set: setFileUploadURL},
		{Name: "push", Default: "name", Help: "what a guest who has said yes to notifications is told by the browser's push service while the page is closed: off (nobody is called), nothing (only that there is something), name (who wrote) or text (and what); it is encrypted for the browser", Example: "nothing", set: setPush},
		{Name: "push-key", Meaning: "made at the first start and kept in the data file", Help: "private key that push services know the gateway by (VAPID), in base64url; with another one, browsers are called again once their page has been opened", Example: "@/etc/latchkey/push-key", Secret: true, set: setPushKey},
		{Name: "push-contact", Meaning: "mailto:MAIL-FROM", Help: "whom push services may ask about the gateway: mailto: or an https:// URL", Example: "mailto:operations@example.com", set: setPushContact},
		{Name: "push-peers", Meaning: "none", Help: "list of networks (CIDR), beside public addresses, where push services may stand; never link-local", Example: "192.0.2.0/24", List: true, set: setPushPeers},
		{Name: "push-ca", Meaning: "the system's", Help: "PEM file with the authorities that push services' certificates are checked against", Example: "/etc/latchkey/push-ca.pem", set: setPushCA},
		{Name: "directory", Help: "who is a registered user: file:PATH, or the http:// or https:// base URL of a program that knows, with user:password@ (Basic) or :token@ (Bearer) before the host", Example: "file:users.yaml", Secret: true, set: setDirectory},
		{Name: "mail", Help: "SMTP server that takes invitations: smtp:// (STARTTLS where offered) or smtps://, and ?auth= scram-sha-256, scram-sha-1, cram-md5, plain, login or xoauth2 behind it, else the best of them that the server offers", Example: "smtp://latchkey:@/etc/latchkey/mail-password@mail.example.com:587", Secret: true, set: setMail},
		{Name: "mail-from", Help: "sender address of invitations", Example: "invitations@example.com", set: setMailFrom},
		{Name: "mail-ca", Meaning: "the system's", Help: "PEM file with the authorities that the mail server's certificate is checked against", Example: "/etc/latchkey/mail-ca.pem", set: setMailCA},
		{Name: "mail-bounce", Help: "listener for reports on mails that did or did not arrive: smtp: or lmtp: and an address; mails get a sender address of their own for it", Example: "smtp:0.0.0.0:25", set: setMailBounce},
		{Name: "mail-bounce-domain", Meaning: "that of mail-from", Help: "domain of those sender addresses, whose mail comes to mail-bounce", Example: "bounces.example.com", set: setMailBounceDomain},
		{Name: "mail-dkim", Help: "key that mails are signed with: SELECTOR:DOMAIN:PATH of a PEM file with an RSA or Ed25519 key; leave it out where the mail server signs", Example: "latchkey:example.com:/etc/latchkey/dkim.pem", set: setMailDKIM},
		{Name: "templates", Help: "folder with texts of invitations that replace the built-in ones; see docs/howto/mail.md", Example: "/etc/latchkey/texts", set: setTemplates},
		{Name: "sms", Help: "SMS centres for invitations, the one that is preferred first: smpp:// or smpps://, with settings behind a question mark; see docs/howto/sms.md", Example: "smpp://latchkey:@/etc/latchkey/smpp-password@smsc.example.com:2775?from=Latchkey", Secret: true, List: true, set: setSMS},
		{Name: "mms", Help: "multimedia message centre for invitations: mm7+http:// or mm7+https://, with vasp, vas and from behind a question mark; its reports are taken at /mm7 on admin-listen", Example: "mm7+https://latchkey:@/etc/latchkey/mm7-password@mmsc.example.com/mm7?vasp=latchkey&vas=invitations", Secret: true, set: setMMS},
		{Name: "log-level", Default: "info", Help: "least level that is logged: debug, info, warn or error", Example: "debug", set: setLogLevel},
		{Name: "log-format", Default: "text", Help: "text or json", Example: "json", set: setLogFormat},
	}
}
