package webtest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// InFrame gives the value of a JavaScript expression in the frame whose address begins with prefix; it waits for the frame.
func InFrame[T any](tab *Tab, prefix, expression string) T {
	tab.t.Helper()
	var value T
	tab.Until(func() (bool, string) {
		ctx, cancel := context.WithTimeout(tab.ctx, patience)
		defer cancel()
		var seen []string
		for _, f := range command(tab, page.GetFrameTree, cdp.Empty{}).FrameTree.ChildFrames {
			if seen = append(seen, f.Frame.URL+f.Frame.UnreachableURL); !strings.HasPrefix(f.Frame.URL, prefix) {
				continue
			}
			yes := true
			var got runtime.EvaluateResult
			world, err := chromedp.Call(ctx, page.CreateIsolatedWorld, page.CreateIsolatedWorldParams{FrameID: f.Frame.ID})
			if err == nil {
				got, err = chromedp.Call(ctx, runtime.Evaluate, runtime.EvaluateParams{Expression: expression, ContextID: world.ExecutionContextID, ReturnByValue: &yes, AwaitPromise: &yes})
			}
			if err != nil && !leaving(err) {
				tab.t.Fatalf("%s in %s: %v", expression, f.Frame.URL, err)
			}
			if err != nil || got.ExceptionDetails != nil || json.Unmarshal(got.Result.Value, &value) != nil {
				return false, fmt.Sprintf("%s in %s: %+v, %v", expression, f.Frame.URL, got.ExceptionDetails, err)
			}
			return true, ""
		}
		return false, fmt.Sprintf("no frame %s among %q", prefix, seen)
	})
	return value
}

// ClickInFrame waits for an element of a frame and clicks it.
func (tab *Tab) ClickInFrame(prefix, selector string) {
	tab.t.Helper()
	tab.Until(func() (bool, string) {
		ok := InFrame[bool](tab, prefix, fmt.Sprintf(`(() => { const e = document.querySelector(%q); if (!e?.checkVisibility() || e.disabled) return false; e.click(); return true; })()`, selector))
		return ok, selector + " can't be clicked in " + prefix
	})
}

// AwaitInFrame waits until what a selector shows in a frame contains want.
func (tab *Tab) AwaitInFrame(prefix, selector, want string) {
	tab.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		shown := InFrame[string](tab, prefix, fmt.Sprintf(`[...document.querySelectorAll(%q)].filter((e) => e.checkVisibility()).map((e) => e.innerText.trim()).join("\n")`, selector))
		if strings.Contains(shown, want) {
			return
		}
		if time.Now().After(end) {
			tab.t.Fatalf("after %v: %s in %s shows %q, want %q", patience, selector, prefix, shown, want)
		}
	}
}

// InSandbox gives the value of a JavaScript expression in the first sandboxed frame of the page for which it isn't null; such frames live in processes
// of their own. It waits for one.
func InSandbox[T any](tab *Tab, expression string) (value T) {
	tab.t.Helper()
	tab.Until(func() (bool, string) {
		all, err := chromedp.Targets(tab.ctx)
		if err != nil {
			return false, err.Error()
		}
		n := 0
		for _, info := range all {
			if info.Type != "iframe" || info.BrowserContextID != chromedp.FromContext(tab.ctx).BrowserContextID {
				continue
			}
			n++
			ctx := tab.frames[info.TargetID]
			if ctx == nil {
				var cancel context.CancelFunc
				ctx, cancel = chromedp.NewContext(tab.ctx, chromedp.WithTargetID(info.TargetID))
				tab.t.Cleanup(cancel)
				if err := chromedp.Do(ctx); err != nil { // ties its life to its context, as that of a tab
					return false, err.Error()
				}
				tab.frames[info.TargetID] = ctx
			}
			within, cancel := context.WithTimeout(ctx, patience)
			got, err := eval[*T](within, expression)
			cancel()
			if err == nil && got != nil {
				value = *got
				return true, ""
			}
		}
		return false, fmt.Sprintf("%s is null in %d sandboxed frames", expression, n)
	})
	return value
}
