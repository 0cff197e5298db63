// The page's shell for where there is no network: the page, which is the same for everybody, and what it loads. Nothing
// that a guest wrote, read or was given is ever stored here, and no address of a page, which may hold a password.
// And the guest is told of what came while the page was closed, when the gateway calls.
// The gateway fills in VERSION, FILES and WORDS, which are those of the language that the worker was asked for in.

const name = 'latchkey VERSION';
const app = new URL('./VERSION/', location);
const sessions = new URL('../invitee/session/', location);
const shell = new URL('-', sessions).href;
const lang = new URL(location).searchParams.get('lang');
const words = WORDS;

addEventListener('install', (e) => e.waitUntil((async () => {
  const cache = await caches.open(name);
  const page = await fetch(shell, { headers: { Accept: 'text/html', 'Accept-Language': lang }, credentials: 'omit' });
  if (!page.ok) throw new TypeError('no page');
  await cache.put(shell, page);
  await cache.addAll([FILES, `lang/${lang}.js`].map((f) => new URL(f, app).href));
  await skipWaiting();
})()));

addEventListener('activate', (e) => e.waitUntil((async () => {
  for (const other of await caches.keys()) if (other.startsWith('latchkey ') && other !== name) await caches.delete(other);
  await clients.claim();
})()));

addEventListener('fetch', (e) => {
  const { request } = e;
  if (request.mode === 'navigate' && request.url.startsWith(sessions.href)) {
    e.respondWith(fetch(request).catch(async () => (await caches.match(shell)) || Response.error()));
  } else if (request.url.startsWith(app.href)) {
    e.respondWith((async () => (await caches.match(request.url)) || fetch(request))());
  }
});

// A call of the gateway's (RFC 8030), decrypted by the browser: {account, uri, name, text, file}, of which the operator says how much there is.
addEventListener('push', (e) => e.waitUntil((async () => {
  let word = {};
  try { word = e.data.json(); } catch { /* a call without a word is one, too */ }
  const { account = '', uri = '', name, text, file } = word;
  const pages = await clients.matchAll({ type: 'window', includeUncontrolled: true });
  if (pages.some((c) => c.focused && accountOf(c.url) === account)) return; // somebody looks at it
  await registration.showNotification(name || words.chat, {
    body: text || (file ? words.file.replace('{name}', file) : words['push-new']),
    tag: uri || account || 'chat', renotify: true, icon: new URL('icon-192.png', app).href, lang, dir: words.dir, data: { account, uri },
  });
})()));

// The browser has another address from now on, or none.
addEventListener('pushsubscriptionchange', (e) => e.waitUntil((async () => {
  const push = new URL('../invitee/push', location);
  const same = async () => e.oldSubscription?.options || { userVisibleOnly: true, applicationServerKey: (await (await fetch(push, { credentials: 'same-origin' })).json()).key };
  const p = e.newSubscription || await registration.pushManager.subscribe(await same());
  const { endpoint, expirationTime, keys } = p.toJSON();
  await fetch(push, {
    method: 'POST', credentials: 'same-origin', headers: { 'Content-Type': 'application/json', 'Latchkey-Client': 'worker' },
    body: JSON.stringify({ endpoint, ...keys, expires: expirationTime ? new Date(expirationTime).toISOString() : null }),
  });
})()));

// accountOf is whose page an address is, plain or percent-encoded.
function accountOf(url) {
  try { return decodeURIComponent(url.slice(sessions.href.length).replace(/[?#].*/, '')); } catch { return ''; }
}

addEventListener('notificationclick', (e) => {
  const { uri, account } = e.notification.data;
  e.notification.close();
  e.waitUntil((async () => {
    const open = (await clients.matchAll({ type: 'window', includeUncontrolled: true })).find((c) => c.url.startsWith(sessions.href) && accountOf(c.url) === account);
    if (!open) return clients.openWindow(new URL(encodeURIComponent(account) + (uri ? `#talk=${encodeURIComponent(uri)}` : ''), sessions));
    if (uri) open.postMessage({ uri });
    return open.focus();
  })());
});
