// News beside the page: notifications, asked for only by a press on the bell, the badge of an installed page, and the
// worker, which has the page's shell where there is no network and is woken by the gateway's calls while the page is closed.

import { account, call, sleep } from './api.js';
import { lang, t } from './words.js';
import { $ } from './view.js';

const can = () => 'Notification' in window && isSecureContext;
let registration = null;
let registering = Promise.resolve();
let prompt = null; // the browser's offer to install the page

// begin is called once the chat is open: before that the page leaves nothing behind.
export async function begin(choose, note) {
  drawBell();
  $('bell').onclick = $('bell-here').onclick = async () => {
    const answer = await Notification.requestPermission();
    drawBell();
    if (answer !== 'granted') return note(t('notify-off'));
    // A push service that can't be reached is tried for minutes by some browsers; nobody is kept waiting for it.
    note(t(await Promise.race([registering.then(subscribe), sleep(5000)]) ? 'notify-push' : 'notify-on'));
  };
  if (!$('manifest')) {
    const link = Object.assign(document.createElement('link'), { id: 'manifest', rel: 'manifest' });
    link.href = new URL(`../manifest.webmanifest?account=${encodeURIComponent(account)}&lang=${lang}`, import.meta.url);
    document.head.append(link);
  }
  if (!isSecureContext || !navigator.serviceWorker) return;
  navigator.serviceWorker.onmessage = ({ data }) => choose(data.uri);
  registering = register();
  await registering;
  subscribe(); // said yes earlier: the gateway may have forgotten, or have another key
}

async function register() {
  const url = new URL(`../worker.js?lang=${lang}`, import.meta.url).href;
  // The one script that is not in the page; require-trusted-types-for wants it vouched for.
  const trusted = window.trustedTypes?.createPolicy('latchkey', { createScriptURL: (s) => { if (s !== url) throw new TypeError(s); return s; } });
  try {
    registration = await navigator.serviceWorker.register(trusted ? trusted.createScriptURL(url) : url, { scope: new URL('../../invitee/session/', import.meta.url).pathname });
  } catch { /* the page works without */ }
}

// subscribe has the gateway call this browser while the page is closed; false where one of the two can't.
async function subscribe() {
  if (!registration?.pushManager || !can() || Notification.permission !== 'granted') return false;
  try {
    const { key } = await call('GET', 'push');
    await navigator.serviceWorker.ready;
    let p = await registration.pushManager.getSubscription();
    if (p && text(p.options.applicationServerKey) !== key) { // RFC 8292 §4.2: bound to the key that it was made for
      await p.unsubscribe();
      p = null;
    }
    p ||= await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
    const { endpoint, expirationTime, keys } = p.toJSON();
    await call('POST', 'push', { endpoint, ...keys, expires: expirationTime ? new Date(expirationTime).toISOString() : null });
    return true;
  } catch { return false; }
}

const text = (key) => (key ? btoa(String.fromCharCode(...new Uint8Array(key))).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '') : '');

// end takes back what the browser gave, once the chat is over; the gateway has forgotten it by then.
export async function end() {
  try { await (await registration?.pushManager?.getSubscription())?.unsubscribe(); } catch { /* its push service says 410 later */ }
}

// drawBell shows the bell while there is something to ask; alone: the one conversation has it, too, since phones show no list then.
export function drawBell(alone = false) {
  const asks = can() && Notification.permission === 'default';
  $('bell').hidden = !asks;
  $('bell-here').hidden = !asks || !alone;
}

addEventListener('beforeinstallprompt', (e) => {
  e.preventDefault();
  prompt = e;
  $('install').hidden = false;
});
$('install').onclick = async () => {
  $('install').hidden = true;
  await prompt?.prompt();
  prompt = null;
};

// tell shows a notification where nobody looks at the page.
export function tell(talk, body) {
  if (!document.hidden || !can() || Notification.permission !== 'granted') return;
  const options = { body, tag: talk.uri, icon: new URL('./icon-192.png', import.meta.url).href, lang, data: { uri: talk.uri, account } };
  if (registration?.active) registration.showNotification(talk.name, options);
  else try {
    const n = new Notification(talk.name, options);
    n.onclick = () => { focus(); n.close(); };
  } catch { /* Android has them by a worker only */ }
}

export function badge(n) {
  if (n) navigator.setAppBadge?.(n)?.catch(() => {});
  else navigator.clearAppBadge?.()?.catch(() => {});
}
