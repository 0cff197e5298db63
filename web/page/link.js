// Runs before anything else is loaded: the password leaves the address bar, where it would
// end up in the history and on screenshots. It stays in memory until the guest has opened the chat.
(() => {
  const parts = [location.search.slice(1), location.hash.slice(1)].join('&').split('&');
  for (const name of ['passwd', 'talk']) { // talk: which conversation a notification was about
    const part = parts.find((p) => p.startsWith(`${name}=`));
    try { if (part) window[name] = decodeURIComponent(part.slice(name.length + 1)); } catch { /* cut in the middle of an escape: as good as none */ }
  }
  if (location.search || location.hash) history.replaceState(null, '', location.pathname);
  if (window.passwd) document.documentElement.className = 'invited'; // the invitation is shown before the rest is here
  // The link opened once more in this tab changes only the fragment; begin anew with it.
  addEventListener('hashchange', () => location.reload());
})();
