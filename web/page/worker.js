// The page's shell for where there is no network: the page, which is the same for everybody, and what it loads. Nothing
// that a guest wrote, read or was given is ever stored here, and no address of a page, which may hold a password.
// The gateway fills in VERSION and FILES.

const name = 'latchkey VERSION';
const app = new URL('./VERSION/', location);
const sessions = new URL('../invitee/session/', location);
const shell = new URL('-', sessions).href;
const lang = new URL(location).searchParams.get('lang');

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

addEventListener('notificationclick', (e) => {
  const { uri, page } = e.notification.data;
  e.notification.close();
  e.waitUntil((async () => {
    const open = (await clients.matchAll({ type: 'window', includeUncontrolled: true })).find((c) => c.url === page);
    if (!open) return clients.openWindow(page);
    open.postMessage({ uri });
    return open.focus();
  })());
});
