package webtest

// Flaws lists what makes the screen hard to use, by WCAG 2.2 level AA: text with too little contrast (1.4.3), controls
// smaller than 24 pixels (2.5.8), and what has to be scrolled sideways (1.4.10). One a line.
func (tab *Tab) Flaws() string {
	tab.t.Helper()
	return Read[string](tab, flaws)
}

const flaws = `(() => {
  const found = [];
  const numbers = (c) => (c.match(/[\d.]+/g) || []).map(Number);
  const luminance = (c) => {
    const [r, g, b] = c.slice(0, 3).map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => { const [x, y] = [luminance(a), luminance(b)].sort((m, n) => n - m); return (x + 0.05) / (y + 0.05); };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = numbers(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
  };
  const modal = document.querySelector("dialog[open]");
  const look = (e, style, text) => {
    const size = parseFloat(style.fontSize);
    const need = size >= 24 || size >= 18.66 && style.fontWeight >= 700 ? 3 : 4.5;
    const has = ratio(numbers(style.color), ground(e));
    if (has < need) found.push("contrast " + has.toFixed(2) + " of " + JSON.stringify(text.slice(0, 40)) + " in " + e.outerHTML.slice(0, 80));
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n; (n = walker.nextNode());) {
    const e = n.parentElement;
    if (!n.data.trim() || !e.checkVisibility() || e.closest("noscript, :disabled") || modal && !modal.contains(e)) continue;
    look(e, getComputedStyle(e), n.data.trim());
  }
  for (const e of document.querySelectorAll("[placeholder]")) {
    if (e.checkVisibility() && !e.disabled && !modal) look(e, { ...getComputedStyle(e), color: getComputedStyle(e, "::placeholder").color, fontSize: getComputedStyle(e).fontSize, fontWeight: 400 }, e.placeholder);
  }
  for (const e of document.querySelectorAll("button, a, input, textarea")) {
    const { width, height } = e.getBoundingClientRect();
    if (e.checkVisibility() && getComputedStyle(e).display !== "inline" && Math.min(width, height) < 24) found.push("too small: " + e.outerHTML.slice(0, 80));
  }
  if (document.scrollingElement.scrollWidth > innerWidth) found.push("wider than the screen: " + document.scrollingElement.scrollWidth);
  for (const e of document.body.querySelectorAll("*")) {
    const { right, width } = e.getBoundingClientRect();
    if (width > 1 && e.checkVisibility() && right > innerWidth + 1 && !e.closest("svg")) found.push("off the screen: " + e.outerHTML.slice(0, 80));
  }
  return found.join("\n");
})()`
