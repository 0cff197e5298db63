package webtest

import (
	"fmt"
	"time"
)

// aim is where to click an element: the middle of what is on the screen of it, or null while it can't be clicked. Until the click has come, the
// page gets no press of the mouse that is not on the element: it would press what happens to be there.
func aim(selector string) string {
	return ready(selector, fmt.Sprintf(`((e) => {
		e.scrollIntoViewIfNeeded();
		window.webtestAim?.end();
		const kinds = ["pointerdown", "mousedown", "pointerup", "mouseup", "click"];
		const aim = { came: "", end() { kinds.forEach((k) => removeEventListener(k, look, true)); } };
		const look = (event) => {
			if (!event.isTrusted) return;
			const wanted = document.querySelector(%q);
			const on = wanted?.contains(event.target) || wanted && event.target.closest?.("label")?.control === wanted;
			if (!on) {
				event.preventDefault();
				event.stopImmediatePropagation();
			}
			if (event.type === "mouseup") aim.came ||= "nothing"; // a click comes right behind it, or none
			if (event.type === "click") {
				aim.came = on ? "click" : "nothing";
				aim.end();
			}
		};
		kinds.forEach((k) => addEventListener(k, look, true));
		window.webtestAim = aim;
		const r = e.getClientRects()[0];
		return [r.x + r.width / 2, r.y + r.height / 2];
	})(e)`, selector))
}

// hit reports whether the click has reached what aim was about. A page that has given way to another one was clicked.
func (tab *Tab) hit() bool {
	tab.t.Helper()
	if !tab.scripts {
		return true // nobody can tell
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		switch came := Read[string](tab, `window.webtestAim ? window.webtestAim.came : "click"`); {
		case came != "":
			return came == "click"
		case time.Now().After(end): // on a frame, or on a button that has just been disabled
			return false
		}
	}
}
