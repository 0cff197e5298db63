package webtest

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/serviceworker"
	"github.com/chromedp/chromedp"
)

// Before runs a script in each page that the tab loads from now on, before any of its own.
func (tab *Tab) Before(script string) {
	tab.t.Helper()
	command(tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script})
}

// Unhurried is a script for Before: what the page does after more than four seconds, such as to take a word back or to give up waiting, it does
// after minutes, so that it may take its time on a machine that is busy.
const Unhurried = `{ const wait = window.setTimeout; window.setTimeout = (f, ms, ...a) => wait(f, ms > 4000 ? 60 * ms : ms, ...a); }`

// Push wakes the service worker of the origin with a word, as its push service does.
func (tab *Tab) Push(origin, word string) {
	tab.t.Helper()
	command(tab, serviceworker.Enable, cdp.Empty{})
	var id serviceworker.RegistrationID
	tab.Until(func() (bool, string) {
		tab.mu.Lock()
		defer tab.mu.Unlock()
		for scope, known := range tab.workers {
			if strings.HasPrefix(scope, origin+"/") {
				id = known
			}
		}
		return id != "", "no worker of " + origin
	})
	command(tab, serviceworker.DeliverPushMessage, serviceworker.DeliverPushMessageParams{Origin: origin, RegistrationID: id, Data: word})
}

// wake starts the service worker of the origin, which a browser puts to sleep when it has had nothing to do for a while.
func (tab *Tab) wake(origin string) {
	tab.mu.Lock()
	scopes := slices.Collect(maps.Keys(tab.workers))
	tab.mu.Unlock()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	for _, scope := range scopes {
		if strings.HasPrefix(scope, origin+"/") {
			_, _ = chromedp.Call(ctx, serviceworker.StartWorker, serviceworker.StartWorkerParams{ScopeURL: scope}) // it is asked for again
		}
	}
}

// InWorker gives the value of a JavaScript expression in the service worker of the origin; promises are waited for.
func InWorker[T any](tab *Tab, origin, expression string) T {
	tab.t.Helper()
	tab.mu.Lock()
	ctx := tab.worker
	tab.mu.Unlock()
	if ctx == nil {
		command(tab, serviceworker.Enable, cdp.Empty{})
		tab.Until(func() (bool, string) {
			all, err := chromedp.Targets(tab.ctx)
			if err != nil {
				return false, err.Error()
			}
			for _, info := range all {
				if info.Type == "service_worker" && strings.HasPrefix(info.URL, origin+"/") {
					var cancel context.CancelFunc
					ctx, cancel = chromedp.NewContext(tab.ctx, chromedp.WithTargetID(info.TargetID))
					tab.t.Cleanup(cancel)
					// Ties its life to its context, as that of a tab; one that has just gone to sleep can't be had.
					return chromedp.Do(ctx) == nil, "the worker of " + origin + " has ended"
				}
			}
			tab.wake(origin)
			return false, "no worker of " + origin + " runs"
		})
		tab.mu.Lock()
		tab.worker = ctx
		tab.mu.Unlock()
	}
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	v, err := eval[T](within, expression)
	if err != nil {
		tab.t.Fatalf("%s: %v", expression, err)
	}
	return v
}
