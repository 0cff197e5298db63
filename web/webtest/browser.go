// Package webtest drives a headless Chromium through pages, for tests: each person has a browser of
// their own, all requests are noted, and what the screen shows can be kept as a picture.
//
// Start one Browser for a test binary in its TestMain, open a Tab for each person, and
// wait for what the page says rather than for time.
package webtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/serviceworker"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// patience is how long a page may take for what is waited for; the machine may be busy.
const patience = time.Minute

// Browser is one Chromium process, started by the first Tab.
type Browser struct {
	start  sync.Once
	ctx    context.Context
	cancel []context.CancelFunc
	err    error
}

// Close ends the process.
func (b *Browser) Close() {
	for i := len(b.cancel) - 1; i >= 0; i-- {
		b.cancel[i]()
	}
}

var errMissing = errors.New("chromium is missing; on Debian: apt install chromium fonts-dejavu-core")

func (b *Browser) run() {
	path, err := exec.LookPath("chromium")
	if err != nil {
		b.err = errMissing
		return
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], // headless, and with a fresh user-data-dir
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("lang", "en-GB"),
		// Nothing but this machine exists.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"),
		chromedp.WSURLReadTimeout(patience), // until it says that it has started
	)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	b.cancel = append(b.cancel, cancel)
	// What the library says of tabs that are just closing is no news.
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithErrorf(func(string, ...any) {}))
	b.cancel = append(b.cancel, cancel)
	b.ctx, b.err = ctx, chromedp.Do(ctx)
}

// Size of a screen in CSS pixels.
type Size struct {
	Name          string
	Width, Height int64
	Phone         bool
}

// The screens that pages are looked at on.
var (
	Desktop = Size{"desktop", 1280, 800, false}
	Phone   = Size{"phone", 390, 844, true}
)

// Options of a Tab.
type Options struct {
	Size     Size // default: Desktop
	Dark     bool
	Lang     string // what the browser prefers; default: en-GB
	NoScript bool   // JavaScript is off
	Beside   *Tab   // share the cookies of another tab
}

// Tab is one page of one person.
type Tab struct {
	t   testing.TB
	ctx context.Context

	scripts bool // run in its pages

	frames map[target.ID]context.Context // that InSandbox has found

	mu       sync.Mutex // guards the fields below
	requests []string
	received int64
	faults   []string
	workers  map[string]serviceworker.RegistrationID // by scope
	worker   context.Context                         // of the service worker that InWorker has found
}

// Open opens a tab that closes with the test. Without Chromium the test is skipped, or fails where
// CI=true says that nothing may be missing. A page's uncaught errors fail the test.
func (b *Browser) Open(t testing.TB, opt Options) *Tab {
	t.Helper()
	b.start.Do(b.run)
	if errors.Is(b.err, errMissing) && os.Getenv("CI") != "true" {
		t.Skip(b.err)
	}
	if b.err != nil {
		t.Fatal(b.err)
	}
	if opt.Beside != nil {
		return attach(t, opt.Beside.ctx, opt)
	}
	return attach(t, b.ctx, opt, chromedp.WithNewBrowserContext())
}

func attach(t testing.TB, parent context.Context, opt Options, how ...chromedp.ContextOption) *Tab {
	t.Helper()
	tab := &Tab{t: t, scripts: !opt.NoScript, workers: map[string]serviceworker.RegistrationID{}, frames: map[target.ID]context.Context{}}
	var cancel context.CancelFunc
	tab.ctx, cancel = chromedp.NewContext(parent, append(how, chromedp.WithListener(tab.listen))...)
	t.Cleanup(func() {
		cancel()
		for _, f := range tab.Faults() {
			t.Errorf("the page: %s", f)
		}
	})
	// The first run ties the tab's life to its context, so it has no time limit.
	if err := chromedp.Do(tab.ctx); err != nil {
		t.Fatal(err)
	}
	size, scheme := opt.Size, "light"
	if size.Width == 0 {
		size = Desktop
	}
	if opt.Dark {
		scheme = "dark"
	}
	command(tab, network.Enable, network.EnableParams{})
	command(tab, page.Enable, page.EnableParams{})
	command(tab, runtime.Enable, cdp.Empty{})
	command(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
	command(tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: size.Width, Height: size.Height, DeviceScaleFactor: 1, Mobile: size.Phone})
	command(tab, emulation.SetTouchEmulationEnabled, emulation.SetTouchEmulationEnabledParams{Enabled: size.Phone})
	// Several people look at their screens at once.
	command(tab, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	if opt.Lang != "" {
		agent := Eval[string](tab, "navigator.userAgent")
		command(tab, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{UserAgent: agent, AcceptLanguage: opt.Lang})
	}
	command(tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: opt.NoScript})
	return tab
}

// command sends one command of the DevTools protocol.
func command[P, R any](tab *Tab, cmd cdp.Command[P, R], params P) R {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	result, err := chromedp.Call(ctx, cmd, params)
	if err != nil {
		tab.t.Fatalf("%s: %v", cmd.Method, err)
	}
	return result
}

// listen runs in the loop that reads from the browser, so it only notes.
func (tab *Tab) listen(event any) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		tab.requests = append(tab.requests, e.Request.Method+" "+e.Request.URL)
	case *network.EventLoadingFinished:
		tab.received += int64(e.EncodedDataLength)
	case *runtime.EventExceptionThrown:
		tab.faults = append(tab.faults, (&chromedp.ExceptionError{ExceptionDetails: e.ExceptionDetails}).Error())
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError {
			tab.faults = append(tab.faults, "console.error")
		}
	case *serviceworker.EventWorkerRegistrationUpdated:
		for _, r := range e.Registrations {
			tab.workers[r.ScopeURL] = r.RegistrationID
		}
	case *page.EventJavascriptDialogOpening:
		go func() { // ends with the tab
			_, _ = chromedp.Call(tab.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true})
		}()
	}
}

// Requests are the requests that the page made since it was opened: "METHOD URL".
func (tab *Tab) Requests() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return slices.Clone(tab.requests)
}

// Received is how many bytes came over the network since the tab was opened, headers included.
func (tab *Tab) Received() int64 {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return tab.received
}

// Slow makes the tab's processor so many times slower.
func (tab *Tab) Slow(times float64) {
	tab.t.Helper()
	command(tab, emulation.SetCPUThrottlingRate, emulation.SetCPUThrottlingRateParams{Rate: times})
}

// Allow lets the page have a permission, as if the person had said yes; no takes it away.
func (tab *Tab) Allow(name string, yes bool) {
	tab.t.Helper()
	setting := browser.PermissionSettingDenied
	if yes {
		setting = browser.PermissionSettingGranted
	}
	id := chromedp.FromContext(tab.ctx).BrowserContextID
	command(tab, browser.SetPermission, browser.SetPermissionParams{Permission: &browser.PermissionDescriptor{Name: name}, Setting: setting, BrowserContextID: id})
}

// Choose fills a field for files.
func (tab *Tab) Choose(selector string, paths ...string) {
	tab.t.Helper()
	tab.Do(chromedp.SetUploadFiles(chromedp.CSS(selector), paths))
}

// Cookies are the names of the cookies that the page's person has.
func (tab *Tab) Cookies() []string {
	tab.t.Helper()
	var names []string
	for _, c := range command(tab, network.GetCookies, network.GetCookiesParams{}).Cookies {
		names = append(names, c.Name)
	}
	return names
}

// Faults are uncaught errors of the page's scripts.
func (tab *Tab) Faults() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return slices.Clone(tab.faults)
}

// Offline takes the network away from the tab, or gives it back.
func (tab *Tab) Offline(is bool) {
	tab.t.Helper()
	command(tab, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
		MatchedNetworkConditions: []*network.Conditions{{Offline: is, DownloadThroughput: -1, UploadThroughput: -1}}})
	command(tab, network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: is, DownloadThroughput: -1, UploadThroughput: -1})
}

// Do runs actions, each until it is done or patience ends.
func (tab *Tab) Do(actions ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		tab.t.Fatal(err)
	}
}

// Go loads an address.
func (tab *Tab) Go(url string) {
	tab.t.Helper()
	tab.Do(chromedp.Navigate(url))
}

// Reload loads the page again, as the browser's button does.
func (tab *Tab) Reload() {
	tab.t.Helper()
	tab.Do(chromedp.Reload())
}

// Eval gives the value of a JavaScript expression; promises are waited for.
func Eval[T any](tab *Tab, expression string) T {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	v, err := eval[T](ctx, expression)
	if err != nil {
		tab.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

func eval[T any](ctx context.Context, expression string) (T, error) {
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// Read gives the value of an expression that may be asked twice. A page that gives way to the next one while it is
// being looked at is looked at again.
func Read[T any](tab *Tab, expression string) T {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	for {
		v, err := eval[T](ctx, expression)
		if err == nil {
			return v
		}
		if !leaving(err) || ctx.Err() != nil {
			tab.t.Fatalf("%s: %v", expression, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// leaving tells whether an error is Chromium's word for "the page that you asked has just gone".
func leaving(err error) bool {
	return slices.ContainsFunc([]string{"navigated or closed", "context was destroyed", "Cannot find context", "uniqueContextId not found", "No frame for given id", "frameId is not found", "Could not create isolated world"},
		func(s string) bool { return strings.Contains(err.Error(), s) })
}

// Shown is the text of all elements of a CSS selector that are on the screen, one a line.
func (tab *Tab) Shown(selector string) string {
	tab.t.Helper()
	return Read[string](tab, fmt.Sprintf(
		`[...document.querySelectorAll(%q)].filter((e) => e.checkVisibility()).map((e) => e.innerText.trim()).join("\n")`, selector))
}

// Count is how many elements of a selector are on the screen.
func (tab *Tab) Count(selector string) int {
	tab.t.Helper()
	return Read[int](tab, fmt.Sprintf(`[...document.querySelectorAll(%q)].filter((e) => e.checkVisibility()).length`, selector))
}

// Await waits until what a selector shows contains want.
func (tab *Tab) Await(selector, want string) {
	tab.t.Helper()
	tab.Until(func() (bool, string) {
		shown := tab.Shown(selector)
		return strings.Contains(shown, want), fmt.Sprintf("%s shows %q, want %q", selector, shown, want)
	})
}

// AwaitCount waits until so many elements of a selector are on the screen.
func (tab *Tab) AwaitCount(selector string, want int) {
	tab.t.Helper()
	tab.Until(func() (bool, string) {
		n := tab.Count(selector)
		return n == want, fmt.Sprintf("%s is on the screen %d times, want %d", selector, n, want)
	})
}

// Until waits for a condition, which says what is the case.
func (tab *Tab) Until(condition func() (ok bool, is string)) {
	tab.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		ok, is := condition()
		if ok {
			return
		}
		if time.Now().After(end) {
			tab.Shot("failed-" + strings.ReplaceAll(tab.t.Name(), "/", "-"))
			tab.t.Fatalf("after %v: %s", patience, is)
		}
	}
}

// Click waits for an element and clicks its middle. Where the page has moved it away or put another one in its place meanwhile, the press
// reaches nobody, and is made once more.
func (tab *Tab) Click(selector string) {
	tab.t.Helper()
	tab.Until(func() (bool, string) {
		at := Read[[]float64](tab, aim(selector))
		if len(at) != 2 {
			return false, selector + " can't be clicked"
		}
		tab.Do(chromedp.MouseClickXY(at[0], at[1]))
		return tab.hit(), selector + " isn't where it was"
	})
}

// Type types into an element, as with a keyboard; "\n" is Enter.
func (tab *Tab) Type(selector, text string) {
	tab.t.Helper()
	tab.focus(selector)
	tab.Press(text)
}

// Insert puts a text into an element at once, as a paste does: for long ones, since each key takes its time.
func (tab *Tab) Insert(selector, text string) {
	tab.t.Helper()
	tab.focus(selector)
	command(tab, input.InsertText, input.InsertTextParams{Text: text})
}

func (tab *Tab) focus(selector string) {
	tab.t.Helper()
	tab.Until(func() (bool, string) {
		return Read[bool](tab, ready(selector, `(e.focus(), true)`)), selector + " takes no text"
	})
}

// ready is an expression's value for the first element of a selector, or null while it isn't on the screen or is disabled.
func ready(selector, expression string) string {
	return fmt.Sprintf(`((e) => e?.checkVisibility() && !e.disabled && e.getClientRects().length ? %s : null)(document.querySelector(%q))`, expression, selector)
}

// Press presses keys, wherever the focus is; "\n" is Enter, "\t" Tab, "\b" Backspace.
func (tab *Tab) Press(keys string) {
	tab.t.Helper()
	for line := range strings.Lines(keys) {
		text, enter := strings.CutSuffix(line, "\n")
		for _, key := range text { // each has its time
			tab.Do(chromedp.KeyEvent(string(key)))
		}
		if enter {
			// Not by KeyEvent, which types a line break even into a field that took the key for itself.
			key := input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "Enter", Code: "Enter", Text: "\r", UnmodifiedText: "\r", WindowsVirtualKeyCode: 13, NativeVirtualKeyCode: 13}
			command(tab, input.DispatchKeyEvent, key)
			key.Type, key.Text, key.UnmodifiedText = input.DispatchKeyEventTypeKeyUp, "", ""
			command(tab, input.DispatchKeyEvent, key)
		}
	}
}

// Follow clicks a link that opens a tab of its own, and gives that tab.
func (tab *Tab) Follow(selector string, opt Options) *Tab {
	tab.t.Helper()
	return tab.follow(selector, opt, func() { tab.Click(selector) })
}

// FollowAt is Follow for what stands at a place of the screen, such as a link in a frame.
func (tab *Tab) FollowAt(x, y float64, opt Options) *Tab {
	tab.t.Helper()
	return tab.follow(fmt.Sprintf("what is at %.0f, %.0f", x, y), opt, func() { tab.Do(chromedp.MouseClickXY(x, y)) })
}

func (tab *Tab) follow(what string, opt Options, click func()) *Tab {
	tab.t.Helper()
	ids := chromedp.WaitNewTarget(tab.ctx, func(info *target.Info) bool { return info.Type == "page" && info.URL != "" })
	for range 4 { // a frame that has just come gets no press yet, and nobody can tell
		click()
		select {
		case id := <-ids:
			return attach(tab.t, tab.ctx, opt, chromedp.WithTargetID(id))
		case <-time.After(patience / 4):
		}
	}
	tab.Shot("failed-" + strings.ReplaceAll(tab.t.Name(), "/", "-"))
	tab.t.Fatalf("%s opened no tab", what)
	return nil
}

// Shot keeps a picture of what is on the screen as artifacts/NAME.png at the top of the module.
func (tab *Tab) Shot(name string) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = keep(name, png)
	}
	if err != nil {
		tab.t.Error(err)
	}
}
