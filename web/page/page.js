// The guest's page: opens the chat when its button is pressed, and joins what the gateway
// tells with what is on the screen. Loading it changes nothing at the gateway (S2, F22):
// programs that look at links may run scripts, too.

import * as keep from './keep.js';
import * as news from './notify.js';
import { Events, account, current, leave, persist } from './api.js';
import { door, hasLink, invitation, shut } from './door.js';
import { Talk, addressOf, line } from './talk.js';
import { $, drawList, drawTalk, say } from './view.js';
import { date, explain, names, t } from './words.js';
import { begin, clear, write } from './write.js';

let talks = [];
let open = null; // the conversation on the screen
let events = null;
const narrow = matchMedia('(max-width: 47.99rem)');

// closed ends all that is on the page, and shows a door that can't be opened any more.
function closed(title, text) {
  events?.stop();
  events = null;
  talks = [];
  open = null;
  for (const id of ['list', 'log', 'leaving-who', 'typing']) $(id).replaceChildren(); // nobody who comes later reads it here
  $('picture').removeAttribute('src');
  clear();
  news.badge(0);
  shut(title, text);
}

// Why a chat or all of them ended, in words.
const causes = ['guest-left', 'inviter-left', 'withdrawn', 'unwanted', 'expired', 'operator'];
const because = (reason, name) => t(causes.includes(reason) ? `because-${reason}` : 'because', { name });

function ended(reason) {
  const who = talks.length === 1 ? talks[0].name : t('inviter');
  keep.note(account, reason || 'over');
  keep.forget(account);
  news.end();
  closed(t('ended'), `${because(reason, who)} ${t('ended-text')} ${t(reason === 'guest-left' ? 'ended-left' : 'ask')}`);
}

// The chat.

function chat(answer) {
  if (!$('chat').hidden) return; // the button was faster
  keep.note(account, 'in');
  $('door').hidden = true;
  $('chat').hidden = false;
  const until = new Date(answer.expires);
  $('valid').textContent = answer.expires && !Number.isNaN(until.getTime()) ? t('valid', { date: date(until) }) : '';
  live(false);
  // The stream begins with events that were told before; what was said shows which of them are old.
  Promise.all(add(answer.inviters)).then(() => {
    if (!$('chat').hidden) events = new Events(hear, live, lost);
  });
  keep.waiting(account).then((all) => {
    for (const entry of all) talks.find((talk) => talk.uri === entry.uri)?.restore(entry);
    draw();
  });
  news.begin((uri) => { const talk = talks.find((other) => other.uri === uri); if (talk) choose(talk); }, toast);
  const wanted = talks.find((talk) => talk.uri === window.talk); // by a notification
  if (wanted || talks.length === 1 || !narrow.matches && talks.length) choose(wanted || talks[0]);
  draw();
}

// add takes inviters in, and gives what is being loaded for them; who is there already gets their state anew.
function add(inviters) {
  const loading = [];
  for (const inviter of inviters) {
    const known = talks.find((talk) => talk.uri === inviter.uri && !talk.ended);
    if (known) {
      known.status = inviter.status || known.status;
      if (known.allow(inviter.interactions)) loading.push(load(known));
      continue;
    }
    talks = talks.filter((talk) => talk.uri !== inviter.uri);
    const talk = new Talk(inviter, draw, lost);
    talks.push(talk);
    if (open?.uri === talk.uri) choose(talk);
    loading.push(load(talk));
  }
  return loading;
}

async function load(talk, earlier) {
  try { await talk.load(earlier); } catch (problem) { if (problem.status === 401) lost(problem); }
}

// lost: the login is no longer good.
function lost(problem) {
  if ($('chat').hidden) return;
  ended(problem.status === 410 ? 'expired' : [...removed.values()].at(-1));
}

// Inviters come and go. The list of those who are there counts, since an event may be old news.
const removed = new Map(); // why, by URI
let recount = 0;

function count() {
  clearTimeout(recount);
  recount = setTimeout(async () => {
    try {
      const { inviters } = await persist(current);
      for (const talk of talks) {
        if (talk.ended || inviters.some((i) => i.uri === talk.uri)) continue;
        talk.ended = `${because(removed.get(talk.uri), talk.name)} ${t('over')} ${t('ask')}`;
        talk.typing = false;
      }
      add(inviters);
      draw();
    } catch (problem) { lost(problem); }
  }, 100);
}

function hear(event) {
  const talk = talks.find((other) => other.uri === (event.from || event.uri));
  switch (event.type) {
    case 'message': case 'file':
      if (talk?.arrived(event)) {
        news.tell(talk, line(talk.messages.at(-1)));
        return;
      }
      break;
    case 'delivery':
      // Not ours: written on another device, where the same guest is.
      if (!talks.map((other) => other.delivery(event)).some(Boolean)) reload();
      return;
    case 'status':
      if (talk) talk.status = event.status;
      break;
    case 'composing':
      if (talk) talk.typing = event.state === 'active';
      break;
    case 'inviter':
      if (event.state === 'removed') removed.set(event.uri, event.reason); else removed.delete(event.uri);
      return count();
    case 'session':
      if (event.state === 'ended') ended(event.reason);
      return;
  }
  draw();
}

let reloading = 0;
function reload() {
  clearTimeout(reloading);
  reloading = setTimeout(() => talks.filter((talk) => !talk.ended).forEach((talk) => load(talk)), 300);
}

let doubt = 0;
function live(is) {
  clearTimeout(doubt);
  const banner = (text) => {
    if ($('banner').textContent === text) return;
    $('banner').textContent = text;
    draw();
  };
  if (is) return banner('');
  const tell = () => banner(t('you-offline'));
  // A stream that is cut and comes back at once is nothing to talk about.
  if (navigator.onLine) doubt = setTimeout(tell, 4000); else tell();
}

let toasted = 0;
function toast(text) {
  clearTimeout(toasted);
  $('toast').textContent = text;
  toasted = setTimeout(() => { $('toast').textContent = ''; }, 6000);
}

// choose opens a conversation.
function choose(talk) {
  const other = open !== talk;
  open = talk;
  if (narrow.matches && talk && history.state !== 'talk') history.pushState('talk', '');
  if (other) {
    if (talk) talk.mark = talk.messages.find((m) => !m.mine && !m.read) || null;
    $('log').setAttribute('aria-busy', 'true');
    $('log').replaceChildren();
    atEnd = true;
    paint();
    write(talk);
    $('log').removeAttribute('aria-busy');
  }
  if (talk && !talk.ended && !matchMedia('(pointer: coarse)').matches) $('text').focus();
  else if (talk) $('talk-name').focus();
}

addEventListener('popstate', () => {
  if (!open || !narrow.matches) return;
  const was = open;
  choose(null);
  was.item?.button.focus();
});

$('back').onclick = () => (history.state === 'talk' ? history.back() : choose(null));

let atEnd = true; // the newest message is on the screen
let drawn = 0;
function draw() { // many changes at once are drawn once
  drawn ||= requestAnimationFrame(() => { drawn = 0; paint(); });
}

const toEnd = () => { if (atEnd) $('scroll').scrollTop = $('scroll').scrollHeight; };

function paint() {
  if ($('chat').hidden) return;
  drawList(talks, open, choose);
  $('chat').classList.toggle('open', Boolean(open));
  $('nobody').hidden = Boolean(open);
  for (const id of ['talk-head', 'scroll']) $(id).hidden = !open;
  $('leave-here').hidden = talks.length !== 1; // others have it, and the bell, beside their list only
  news.drawBell(talks.length === 1);
  if (open) {
    drawTalk(open, toEnd);
    toEnd();
    $('newest').hidden = atEnd || !open.unread;
    if (atEnd && !document.hidden) open.seen();
  } else {
    for (const id of ['composer', 'over', 'newest']) $(id).hidden = true;
    say($('typing'), '');
  }
  const unread = talks.reduce((n, talk) => n + talk.unread, 0);
  document.title = (unread ? `(${unread}) ` : '') + (open ? t('chat-with', { name: open.name }) : t('chat'));
  news.badge(unread);
}

$('scroll').onscroll = () => {
  const { scrollTop, scrollHeight, clientHeight } = $('scroll');
  const was = atEnd;
  atEnd = scrollHeight - scrollTop - clientHeight < 40;
  if (atEnd && !was) draw();
};
$('newest').onclick = () => { atEnd = true; draw(); };
addEventListener('resize', draw);
document.addEventListener('visibilitychange', draw);

$('older').onclick = async () => {
  const talk = open;
  $('older').disabled = true;
  const below = $('scroll').scrollHeight - $('scroll').scrollTop;
  $('log').setAttribute('aria-busy', 'true');
  await load(talk, true);
  if (open === talk) {
    atEnd = false;
    paint();
    $('scroll').scrollTop = $('scroll').scrollHeight - below; // what was read stays where it was
  }
  $('log').removeAttribute('aria-busy');
  $('older').disabled = false;
};

begin((own) => {
  if (own) {
    atEnd = true;
    if (open) open.mark = null;
    draw();
  } else toEnd();
}, toast);

// What waits is kept over a reload, but for a browser that keeps nothing.
addEventListener('beforeunload', (e) => {
  if (talks.some((talk) => talk.messages.some((m) => m.state === 'sending' && !m.kept))) e.preventDefault(); // the browser asks
});

// Leaving.

$('leave').onclick = $('leave-here').onclick = () => {
  const who = talks.filter((talk) => !talk.ended).map((talk) => talk.name);
  $('leaving-who').textContent = who.length ? t('leaving-who', { names: names(who) }) : '';
  $('leaving-error').textContent = '';
  $('leaving').showModal();
};

$('go').onclick = async () => {
  $('go').disabled = true;
  $('leaving-error').textContent = '';
  try {
    await leave();
    ended('guest-left');
  } catch (problem) {
    if (problem.status === 401) return ended('guest-left');
    $('leaving-error').textContent = problem.status ? t('leaving-failed', { problem: explain(problem) }) : t('leaving-offline');
  } finally {
    $('go').disabled = false;
  }
};

$('viewer').onclose = () => $('picture').removeAttribute('src');

// A login that still stands, by its cookie, goes straight to the chat. A browser that knows of none isn't asked.
history.replaceState(null, '');
if (hasLink()) invitation(chat);
if (!hasLink() || keep.noted(account) === 'in') {
  try {
    const answer = await current();
    if (addressOf(answer.account).toLowerCase() !== addressOf(account).toLowerCase()) throw new Error('the login of another invitation');
    chat(answer);
  } catch (problem) {
    if (!hasLink()) begone(problem);
  }
}

// begone says what to do where neither a login nor a link is there.
function begone(problem) {
  if (!problem.passing) return closed(t('no-link'), t('no-link-text'));
  door(t('unreachable'), t('unreachable-text'), { button: t('again'), act: () => location.reload() });
  addEventListener('online', () => location.reload());
}
