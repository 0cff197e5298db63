package webtest

import (
	"context"
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

// InWorker gives the value of a JavaScript expression in the service worker of the origin; promises are waited for.
func InWorker[T any](tab *Tab, origin, expression string) T {
	tab.t.Helper()
	tab.mu.Lock()
	ctx := tab.worker
	tab.mu.Unlock()
	if ctx == nil {
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
					return true, ""
				}
			}
			return false, "no worker of " + origin + " runs"
		})
		if err := chromedp.Do(ctx); err != nil { // ties its life to its context, as that of a tab
			tab.t.Fatal(err)
		}
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
