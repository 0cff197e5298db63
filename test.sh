#!/bin/sh
# Runs all tests, on a fresh Debian 12 with Go and root as well as on a developer's machine:
# installs what is missing (Debian packages without starting services; Go tools and npm packages at fixed
# versions), then checks form, imports and code, and tests everything with the race detector.
#
#   ./test.sh             everything; what can't be installed is skipped with a word
#   CI=true ./test.sh     the same, but a missing peer is a failure
#   ./test.sh ./msrp/...  everything for these packages only
#
# LATCHKEY_TOOLS says where the Go tools and npm's packages are kept; default ~/.cache/latchkey/tools.
set -u
cd "$(dirname "$0")" || exit 1

STATICCHECK=honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK=golang.org/x/vuln/cmd/govulncheck@v1.9.0
SMPP=smpp@0.6.0-rc.4 # an SMS centre for tests, from npm
AXE=axe-core@4.11.0  # looks for what keeps people from using the page
LIGHTHOUSE=lighthouse@12.8.2
HTTP_ECE=http_ece@1.2.1 # reads calls of Web Push as browsers do, from npm
WS=ws@7.5.14 # WebSockets of a peer, from npm; the version that lighthouse has
REDOCLY=@redocly/cli@1.34.5 # the linter of openapi.yaml, from npm
MAILPIT=github.com/axllent/mailpit@v1.27.11
VERSITYGW=github.com/versity/versitygw/cmd/versitygw@v1.8.0 # an S3 store

: "${LATCHKEY_TOOLS:=${XDG_CACHE_HOME:-$HOME/.cache}/latchkey/tools}"
PATH="$LATCHKEY_TOOLS:$PATH:/usr/sbin:/sbin"
export PATH
[ $# -gt 0 ] || set -- ./...

summary=
failed=0
begun=$(date +%s)

# step NAME COMMAND...: runs one check and remembers how it went; 77 stands for not done.
step() {
	name=$1
	shift
	printf '\n== %s\n' "$name"
	start=$(date +%s)
	"$@"
	case $? in
	0) result=ok ;;
	77) result=skipped ;;
	*) result=FAILED && failed=1 ;;
	esac
	summary="$summary$(printf '%-8s %4ds  %s' "$result" $(($(date +%s) - start)) "$name")
"
}

# thrice runs a command that needs the network, and again if that fails.
thrice() {
	for pause in 5 20; do
		"$@" && return 0
		sleep $pause
	done
	"$@"
}

# debian installs the packages whose programs are missing.
debian() {
	missing=
	while read -r package probe; do
		case $probe in
		/*) [ -e "$probe" ] || missing="$missing $package" ;;
		*) command -v "$probe" >/dev/null || missing="$missing $package" ;;
		esac
	done <<LIST
kamailio kamailio
kamailio-autheph-modules /usr/lib/$(uname -m)-linux-gnu/kamailio/modules/auth_ephemeral.so
kamailio-tls-modules /usr/lib/$(uname -m)-linux-gnu/kamailio/modules/tls.so
kamailio-extra-modules /usr/lib/$(uname -m)-linux-gnu/kamailio/modules/uuid.so
sip-tester sipp
chromium chromium
fonts-dejavu-core /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf
fonts-noto-color-emoji /usr/share/fonts/truetype/noto/NotoColorEmoji.ttf
fonts-wqy-zenhei /usr/share/fonts/truetype/wqy/wqy-zenhei.ttc
tmux tmux
clamav-daemon clamd
c-icap c-icap
libc-icap-mod-virus-scan /usr/lib/$(uname -m)-linux-gnu/c_icap/clamd_mod.so
xdg-utils xdg-mime
libxml2-utils xmllint
tshark tshark
gcc gcc
libc6-dev /usr/include/stdlib.h
git git
ca-certificates /etc/ssl/certs/ca-certificates.crt
nodejs node
npm npm
postfix /usr/lib/postfix/sbin/master
libsasl2-modules /usr/lib/$(uname -m)-linux-gnu/sasl2/libscram.so
sasl2-bin saslpasswd2
prometheus promtool
systemd systemd-analyze
curl curl
jq jq
LIST
	[ -n "$missing" ] || return 0
	echo "missing:$missing"
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "not root on a Debian: install them yourself, or their tests are skipped"
		[ "${CI:-}" != true ]
		return
	fi
	# Services must not start: the tests run their own. The file is ours only if we made it.
	policy=/usr/sbin/policy-rc.d
	ours=
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy && ours=yes
	fi
	DEBIAN_FRONTEND=noninteractive
	export DEBIAN_FRONTEND
	# shellcheck disable=SC2086 # a list of words
	thrice apt-get -qq update && thrice apt-get -qq -y --no-install-recommends install $missing >/dev/null
	result=$?
	[ -z "$ours" ] || rm -f $policy
	return $result
}

# tool NAME MODULE@VERSION builds one Go tool unless it is there in that version; without symbols, which take longer to link than to read.
tool() {
	stamp="$LATCHKEY_TOOLS/.$1-$(printf '%s' "$2" | tr -c 'A-Za-z0-9.\n' '-')"
	[ -x "$LATCHKEY_TOOLS/$1" ] && [ -e "$stamp" ] && return 0
	echo "$2"
	mkdir -p "$LATCHKEY_TOOLS" && (cd / && thrice env GOFLAGS= GOBIN="$LATCHKEY_TOOLS" go install -ldflags=-s "$2") || return 1
	rm -f "$LATCHKEY_TOOLS/.$1-"*
	: >"$stamp"
}

tools() {
	tool staticcheck "$STATICCHECK" && tool mailpit "$MAILPIT" && tool versitygw "$VERSITYGW" && tool govulncheck "$GOVULNCHECK"
}

# package NAME@VERSION installs a package of npm, for tests, unless it is there in that version.
package() {
	stamp="$LATCHKEY_TOOLS/npm/.$(printf '%s' "$1" | tr / -)"
	[ -e "$stamp" ] && return 0
	echo "$1"
	mkdir -p "$LATCHKEY_TOOLS/npm" && thrice npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$LATCHKEY_TOOLS/npm" "$1" && : >"$stamp"
}

packages() { package "$SMPP" && package "$AXE" && package "$LIGHTHOUSE" && package "$REDOCLY" && package "$HTTP_ECE" && package "$WS"; }

form() {
	files=$(gofmt -l .)
	[ -z "$files" ] && return 0
	printf 'not gofmt:\n%s\n' "$files"
	return 1
}

# The import test asks the go tool about files that the test cache does not know of.
arrows() { go test -count=1 -run 'Imports|Room|Arrows' .; }

# vulnerabilities says 77 (skipped) where the data base can't be asked.
vulnerabilities() {
	out=$(govulncheck "$@" 2>&1)
	code=$?
	case $code in
	0) return 0 ;;
	3) printf '%s\n' "$out" && return 1 ;; # found some
	esac
	printf '%s\n' "$out" | tail -n 3
	echo "the data base of vulnerabilities can't be asked from here; not checked"
	return 77
}

command -v go >/dev/null || {
	echo "Go is missing; see https://go.dev/doc/install" >&2
	exit 1
}

step "Debian packages" debian
step "Go tools" tools
step "npm packages" packages
step "gofmt" form
step "imports point down" arrows
step "go vet" go vet "$@"
step "staticcheck" staticcheck "$@"
step "go test -race" go test -race -timeout 12m "$@"
step "govulncheck" vulnerabilities "$@"

printf '\n%s\n' "$summary"
if [ $failed = 0 ]; then
	echo "all well after $(($(date +%s) - begun)) s"
else
	echo "FAILED after $(($(date +%s) - begun)) s"
fi
exit $failed
