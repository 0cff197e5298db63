// News beside the page: notifications, asked for only by a press on the bell, the badge of an installed page, and the
// worker that has the page's shell where there is no network.

import { account } from './api.js';
import { lang, t } from './words.js';
import { $ } from './view.js';

const can = () => 'Notification' in window && isSecureContext;
let registration = null;
let prompt = null; // the browser's offer to install the page

// begin is called once the chat is open: before that the page leaves nothing behind.
export async function begin(choose, note) {
  drawBell();
  $('bell').onclick = async () => {
    const answer = await Notification.requestPermission();
    drawBell();
    note(t(answer === 'granted' ? 'notify-on' : 'notify-off'));
  };
  if (!$('manifest')) {
    const link = Object.assign(document.createElement('link'), { id: 'manifest', rel: 'manifest' });
    link.href = new URL(`../manifest.webmanifest?account=${encodeURIComponent(account)}&lang=${lang}`, import.meta.url);
    document.head.append(link);
  }
  if (!isSecureContext || !navigator.serviceWorker) return;
  navigator.serviceWorker.onmessage = ({ data }) => choose(data.uri);
  const url = new URL(`../worker.js?lang=${lang}`, import.meta.url).href;
  // The one script that is not in the page; require-trusted-types-for wants it vouched for.
  const trusted = window.trustedTypes?.createPolicy('latchkey', { createScriptURL: (s) => { if (s !== url) throw new TypeError(s); return s; } });
  try {
    registration = await navigator.serviceWorker.register(trusted ? trusted.createScriptURL(url) : url, { scope: new URL('../../invitee/session/', import.meta.url).pathname });
  } catch { /* the page works without */ }
}

function drawBell() { $('bell').hidden = !can() || Notification.permission !== 'default'; }

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
  const options = { body, tag: talk.uri, icon: new URL('./icon-192.png', import.meta.url).href, lang, data: { uri: talk.uri, page: location.href } };
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
