package gateway

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"gopkg.in/yaml.v3"

	"latchkey/guest"
)

// ErrHelp is what Load returns when the arguments ask for help.
var ErrHelp = pflag.ErrHelp

// Load reads the configuration from flags, environment (LATCHKEY_NAME) and the file that
// --config names, in this order of precedence. env is os.Getenv, or a test's. An
// error is one line that names the option, says what is wrong and gives an example.
func Load(args []string, env func(string) string) (Config, error) {
	flags := NewFlags("latchkey")
	if err := flags.Parse(args); err != nil {
		return Config{}, flagError(err)
	}
	if flags.NArg() > 0 {
		return Config{}, fmt.Errorf("%q is not an option; options look like --data latchkey.db", flags.Arg(0))
	}
	given, err := collect(flags, env)
	if err != nil {
		return Config{}, err
	}
	return build(given)
}

// NewFlags makes the flag set of the options. Its FlagUsages is the text of --help.
func NewFlags(name string) *pflag.FlagSet {
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.SortFlags = false
	flags.Usage = func() {} // the command prints it
	for _, o := range Options() {
		help := o.Help
		if o.Meaning != "" {
			help += " (default " + o.Meaning + ")"
		}
		flags.String(o.Name, o.Default, help)
		if o.Bool {
			flags.Lookup(o.Name).NoOptDefVal = "true"
		}
	}
	return flags
}

// EnvName is the environment variable of an option.
func EnvName(option string) string {
	return "LATCHKEY_" + strings.ToUpper(strings.ReplaceAll(option, "-", "_"))
}

// value is the text of one option and where it comes from, for messages.
type value struct{ text, from string }

// collect finds each option's text at the place that wins.
func collect(flags *pflag.FlagSet, env func(string) string) (map[string]value, error) {
	given := map[string]value{}
	from := func(name string) (value, bool) {
		if f := flags.Lookup(name); f != nil && f.Changed {
			return value{f.Value.String(), "--" + name}, true
		}
		if v := env(EnvName(name)); v != "" {
			return value{v, EnvName(name)}, true
		}
		return value{}, false
	}
	if path, ok := from("config"); ok {
		var err error
		if given, err = readFile(path); err != nil {
			return nil, err
		}
	}
	for _, o := range Options() {
		if v, ok := from(o.Name); ok {
			given[o.Name] = v
		} else if _, ok := given[o.Name]; !ok && o.Default != "" {
			given[o.Name] = value{o.Default, o.Name}
		}
	}
	return given, nil
}

// readFile reads the YAML file: a flat mapping of option names.
func readFile(path value) (map[string]value, error) {
	text, err := os.ReadFile(path.text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; for example --config latchkey.yaml", path.from, err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", path.from, path.text, err)
	}
	given := map[string]value{}
	if len(doc.Content) == 0 {
		return given, nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: must be options and values, for example data: latchkey.db", path.text, root.Line)
	}
	known := map[string]Option{}
	for _, o := range Options() {
		known[o.Name] = o
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, node := root.Content[i], root.Content[i+1]
		where := fmt.Sprintf("%s:%d: %s", path.text, key.Line, key.Value)
		o, ok := known[key.Value]
		if !ok || o.Name == "config" {
			return nil, fmt.Errorf("%s: is not an option%s", where, didYouMean(key.Value))
		}
		if _, twice := given[o.Name]; twice {
			return nil, fmt.Errorf("%s: stands here a second time; keep one, for example %s: %s", where, o.Name, o.Example)
		}
		v, err := scalar(node, o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w; for example %s: %s", where, err, o.Name, o.Example)
		}
		given[o.Name] = value{v, where}
	}
	return given, nil
}

// scalar is the text of a YAML value; a list becomes its elements with commas.
func scalar(n *yaml.Node, o Option) (string, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return "", errors.New("has no value")
	case n.Kind == yaml.ScalarNode:
		return n.Value, nil
	case n.Kind == yaml.SequenceNode && o.List:
		parts := []string{}
		for _, e := range n.Content {
			if e.Kind != yaml.ScalarNode {
				return "", errors.New("must be a list of plain values")
			}
			parts = append(parts, e.Value)
		}
		return strings.Join(parts, ","), nil
	}
	return "", errors.New("must be one plain value")
}

// build parses what was given and checks what concerns several options at once.
func build(given map[string]value) (Config, error) {
	var c Config
	for _, o := range Options() {
		v, ok := given[o.Name]
		if !ok || o.set == nil {
			continue
		}
		err := func() error {
			if o.Secret {
				var err error
				if v.text, err = reveal(v.text); err != nil {
					return err
				}
			}
			return o.set(&c, v.text)
		}()
		if err != nil {
			return Config{}, fmt.Errorf("%s: %w; for example %s", v.from, err, o.Example)
		}
	}
	return c, c.complete()
}

// complete fills in what follows from other options.
func (c *Config) complete() error {
	if (c.HTTPTLSCert == "") != (c.HTTPTLSKey == "") {
		return errors.New("http-tls-cert: needs http-tls-key too, and the other way round; for example --http-tls-cert tls.crt --http-tls-key tls.key")
	}
	if (c.SIPTLSCert == "") != (c.SIPTLSKey == "") {
		return errors.New("sip-tls-cert: needs sip-tls-key too, and the other way round; for example --sip-tls-cert sip.crt --sip-tls-key sip.key")
	}
	secure := slices.ContainsFunc(c.SIPListen, func(l string) bool { return strings.HasPrefix(l, "tls:") || strings.HasPrefix(l, "wss:") })
	switch {
	case secure && c.SIPTLSCert == "":
		return errors.New("sip-listen: tls: and wss: need a certificate; for example --sip-tls-cert sip.crt --sip-tls-key sip.key")
	case c.SIPTLSClientAuth && !secure:
		return errors.New("sip-tls-client-auth: asks nobody as long as sip-listen has no tls: or wss:; for example --sip-listen tls:192.0.2.10:5061")
	}
	if c.Directory == "" && c.DirectoryHTTP == nil {
		return errors.New("directory: must say who the registered users are; for example --directory file:users.yaml")
	}
	if c.FileUpload == DigestUploads && c.DirectoryHTTP != nil && c.SIPAuth.String() != "ephemeral" {
		return errors.New("file-upload: digest needs a directory file, or sip-auth ephemeral: an HTTP directory checks passwords and tells none; for example --file-upload basic")
	}
	if c.AccountScheme == guest.Allotted && c.DirectoryHTTP == nil {
		return errors.New("account-scheme: directory needs an HTTP directory, a file allots no accounts; for example --directory https://users.example.com/latchkey")
	}
	if c.AccountScheme != guest.Allotted && (c.SIPAuth.String() == "directory" || c.SkipInteraction) {
		name := "sip-auth: directory"
		if c.SkipInteraction {
			name = "interaction-skip"
		}
		return errors.New(name + " needs accounts that the directory allots; for example --account-scheme directory")
	}
	if c.Mail != nil && c.MailFrom == "" {
		return errors.New("mail-from: is needed where mail is set; for example --mail-from invitations@example.com")
	}
	if c.Mail == nil && (c.MailBounce != nil || c.MailDKIM != nil) {
		return errors.New("mail: is needed where mail-bounce or mail-dkim is set; for example --mail smtp://mail.example.com")
	}
	if c.MailBounceDomain != "" && c.MailBounce == nil {
		return errors.New("mail-bounce-domain: needs mail-bounce, too; for example --mail-bounce smtp:0.0.0.0:25")
	}
	if c.MailBounceDomain == "" {
		c.MailBounceDomain = c.MailFrom[strings.LastIndexByte(c.MailFrom, '@')+1:]
	}
	if err := c.checkTimers(); err != nil {
		return err
	}
	if c.SIPTrusted == nil {
		for _, core := range c.cores() {
			if host := hopHost(core); !slices.Contains(c.SIPTrusted, host) {
				c.SIPTrusted = append(c.SIPTrusted, host)
			}
		}
	}
	if c.FileStore == "" && c.FileBucket == nil {
		c.FileStore = c.Data + ".files"
	}
	if c.FilePeers == nil {
		c.FilePeers = c.MSRPPeers
	}
	if c.IMServer == "" {
		c.IMServer = c.SIPCore
	}
	if c.FileServer == "" {
		c.FileServer = c.SIPCore
	}
	return nil
}

// flagError words pflag's errors as ours.
func flagError(err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		name := unknown.GetSpecifiedName()
		return fmt.Errorf("--%s: is not an option%s", name, didYouMean(name))
	}
	if needs, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		name := needs.GetSpecifiedName()
		for _, o := range Options() {
			if o.Name == name {
				return fmt.Errorf("--%s: needs a value; for example --%s %s", name, name, o.Example)
			}
		}
	}
	return err
}

// didYouMean suggests the option that is nearest to a word, or points at the list.
func didYouMean(word string) string {
	best, least := "", 4
	for _, o := range Options() {
		if d := distance(word, o.Name); d < least {
			best, least = o.Name, d
		}
	}
	if best == "" {
		return "; --help lists them, for example --data latchkey.db"
	}
	return "; did you mean " + best + "?"
}

// distance is the number of letters to change, add or drop between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
