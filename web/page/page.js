// The guest's page: opens the chat when its button is pressed, and joins what the gateway
// tells with what is on the screen. Loading it changes nothing at the gateway (S2, F22):
// programs that look at links may run scripts, too.

import { Events, account, current, leave, login, persist } from './api.js';
import { Talk, addressOf } from './talk.js';
import { $, drawList, drawTalk } from './view.js';

let passwd = window.passwd; // link.js took it out of the address
delete window.passwd;

let talks = [];
let open = null; // the conversation on the screen
let events = null;
const narrow = matchMedia('(max-width: 47.99rem)');

// The door: what is shown before and after the chat.

function door(title, text, { button = '', press = null, note = '' } = {}) {
  $('chat').hidden = true;
  $('leaving').close();
  $('door').hidden = false;
  $('door-title').textContent = document.title = title;
  $('door-text').textContent = text;
  $('door-note').textContent = note;
  $('door-error').textContent = '';
  $('door-button').hidden = !button;
  $('door-button').textContent = button;
  $('door-button').onclick = press;
}

function invitation() {
  door('You are invited to chat', 'Somebody would like to chat with you here, in your browser. You don’t need an account, and there is nothing to install.',
    { button: 'Open chat', press: enter, note: 'Only people who invited you can see what you write to them. You can leave at any time.' });
}

const ask = 'Ask the person who invited you for a new invitation.';

async function enter() {
  const button = $('door-button');
  button.disabled = true;
  button.textContent = 'Opening…';
  $('door-error').textContent = '';
  try {
    const answer = await login(passwd);
    passwd = undefined;
    chat(answer);
  } catch (problem) {
    refused(problem);
  } finally {
    button.disabled = false;
    if (button.textContent === 'Opening…') button.textContent = 'Open chat';
  }
}

// refused says what to do about a login that failed.
function refused(problem) {
  const again = (text) => {
    $('door-error').textContent = text;
    $('door-button').textContent = 'Try again';
    $('door-button').focus();
  };
  switch (problem.status) {
    case 410:
      return closed('This invitation has expired', `Invitations are valid for a limited time, and this one is over. ${ask}`);
    case 401:
      return closed('This link doesn’t work', `Either it is not complete, or the invitation was ended. Open the link once more, exactly as it is in your invitation. If that doesn’t help, ${ask[0].toLowerCase()}${ask.slice(1)}`);
    case 429:
      return again(`There were too many tries. Wait ${duration(problem.wait)}, then press the button again.`);
    case 502:
      return again('The phone network refused the connection just now. Try again in a few minutes; your link is still good.');
    case 503: case 504:
      return again('The phone network doesn’t answer just now. Try again in a minute; your link is still good.');
    case 0:
      return again('There is no connection. Check that this device is online, then press the button again.');
    default:
      return again(`${problem.message} Try again in a minute; your link is still good.`);
  }
}

const duration = (seconds) => (seconds > 90 ? `${Math.ceil(seconds / 60)} minutes` : seconds > 1 ? `${seconds} seconds` : 'a minute');

// closed is a door that can't be opened any more.
function closed(title, text) {
  passwd = undefined;
  events?.stop();
  events = null;
  talks = [];
  open = null;
  for (const id of ['list', 'log', 'leaving-who']) $(id).replaceChildren(); // nobody who comes later reads it here
  $('text').value = '';
  door(title, text);
  $('door-title').focus();
}

// Why a chat or all of them ended, in words.
const causes = {
  'guest-left': () => 'You have left this chat.',
  'inviter-left': (who) => `${who} has signed off, and the chat has ended.`,
  withdrawn: (who) => `${who} has ended this chat.`,
  unwanted: (who) => `${who} does not want messages from you, and the chat has ended.`,
  expired: () => 'The invitation has expired, and the chat has ended.',
  operator: () => 'The operator of this service has ended the chat.',
};

const because = (reason, who) => (causes[reason] || (() => 'This chat has ended.'))(who);

function ended(reason) {
  const who = talks.length === 1 ? talks[0].name : 'The person who invited you';
  closed('The chat has ended', `${because(reason, who)} Its messages are deleted here, and the link doesn’t work any more. ${reason === 'guest-left' ? 'To come back, ask for a new invitation.' : ask}`);
}

// The chat.

function chat(answer) {
  $('door').hidden = true;
  $('chat').hidden = false;
  const until = new Date(answer.expires);
  $('valid').textContent = answer.expires && !Number.isNaN(until.getTime())
    ? `Your invitation is valid until ${until.toLocaleDateString([], { day: 'numeric', month: 'long', year: 'numeric' })}.` : '';
  live(false);
  // The stream begins with events that were told before; what was said shows which of them are old.
  Promise.all(add(answer.inviters)).then(() => {
    if (!$('chat').hidden) events = new Events(hear, live, lost);
  });
  if (talks.length === 1 || !narrow.matches && talks.length) choose(talks[0]);
  draw();
}

// add takes inviters in, and gives what is being loaded for them; who is there already gets their state anew.
function add(inviters) {
  const loading = [];
  for (const inviter of inviters) {
    const known = talks.find((t) => t.uri === inviter.uri && !t.ended);
    if (known) {
      known.status = inviter.status || known.status;
      continue;
    }
    talks = talks.filter((t) => t.uri !== inviter.uri);
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
      for (const t of talks) {
        if (t.ended || inviters.some((i) => i.uri === t.uri)) continue;
        t.ended = `${because(removed.get(t.uri), t.name)} Its messages are no longer kept here; they go when you close this page. ${ask}`;
        t.typing = false;
      }
      add(inviters);
      draw();
    } catch (problem) { lost(problem); }
  }, 100);
}

function hear(event) {
  const talk = talks.find((t) => t.uri === (event.from || event.uri));
  switch (event.type) {
    case 'message':
      if (talk?.arrived(event.message, event.time)) return;
      break;
    case 'file':
      if (talk?.arrived({ id: `file ${event.file.id}`, text: `File: ${event.file.name} (files can’t be opened on this page yet)` }, event.time)) return;
      break;
    case 'delivery':
      // Not ours: written on another device, where the same guest is.
      if (!talks.map((t) => t.delivery(event.message)).some(Boolean)) reload();
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
  reloading = setTimeout(() => talks.filter((t) => !t.ended).forEach((t) => load(t)), 300);
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
  const tell = () => banner('You are offline. What you write is kept here and sent as soon as the connection is back.');
  // A stream that is cut and comes back at once is nothing to talk about.
  if (navigator.onLine) doubt = setTimeout(tell, 4000); else tell();
}

// choose opens a conversation.
function choose(talk) {
  if (open && open !== talk) open.draft = $('text').value;
  const other = open !== talk;
  open = talk;
  if (narrow.matches && talk && history.state !== 'talk') history.pushState('talk', '');
  if (other) {
    $('log').setAttribute('aria-busy', 'true');
    $('log').replaceChildren();
    $('text').value = talk?.draft || '';
    atEnd = true;
    paint();
    $('log').removeAttribute('aria-busy');
    fit();
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

function paint() {
  if ($('chat').hidden) return;
  drawList(talks, open, choose);
  $('chat').classList.toggle('open', Boolean(open));
  $('nobody').hidden = Boolean(open);
  for (const id of ['talk-head', 'scroll']) $(id).hidden = !open;
  if (open) {
    drawTalk(open, (m) => open.again(m));
    $('leave-here').hidden = talks.length > 1; // it leaves all of them; with more than one it stands beside their list only
    if (atEnd) $('scroll').scrollTop = $('scroll').scrollHeight;
    $('newest').hidden = atEnd || !open.unread;
    if (atEnd && !document.hidden) open.seen();
  } else {
    for (const id of ['composer', 'over', 'newest']) $(id).hidden = true;
    $('typing').textContent = '';
  }
  const unread = talks.reduce((n, t) => n + t.unread, 0);
  document.title = (unread ? `(${unread}) ` : '') + (open ? `Chat with ${open.name}` : 'Chat');
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

// Writing.

function fit() { // the field grows with its text
  $('text').rows = 1;
  while ($('text').rows < 6 && $('text').scrollHeight > $('text').clientHeight + 2) $('text').rows++;
  if (atEnd) $('scroll').scrollTop = $('scroll').scrollHeight;
}

$('text').oninput = () => {
  open?.typed($('text').value);
  fit();
};

$('text').onkeydown = (e) => {
  if (e.key !== 'Enter' || e.shiftKey || e.isComposing || matchMedia('(pointer: coarse)').matches) return;
  e.preventDefault();
  $('composer').requestSubmit();
};

$('composer').onsubmit = (e) => {
  e.preventDefault();
  const text = $('text').value;
  if (!open || !text.trim()) return;
  $('text').value = '';
  fit();
  atEnd = true;
  open.send(text);
  $('text').focus();
};

addEventListener('beforeunload', (e) => {
  if (talks.some((t) => t.waiting)) e.preventDefault(); // the browser asks
});

// Leaving.

$('leave').onclick = $('leave-here').onclick = () => {
  const names = talks.filter((t) => !t.ended).map((t) => t.name);
  $('leaving-who').textContent = names.length ? `This ends your chat with ${new Intl.ListFormat('en').format(names)}.` : '';
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
    $('leaving-error').textContent = problem.status ? `That didn’t work: ${problem.message} Try again.` : 'There is no connection. Try again when this device is online.';
  } finally {
    $('go').disabled = false;
  }
};

// A login that still stands, by its cookie, goes straight to the chat.
history.replaceState(null, '');
try {
  const answer = await current();
  if (addressOf(answer.account).toLowerCase() !== addressOf(account).toLowerCase()) throw new Error('the login of another invitation');
  chat(answer);
} catch (problem) {
  if (passwd) invitation();
  else if (problem.passing) {
    door('The chat can’t be reached', 'Check that this device is online, then try again. Nothing is lost: your messages are kept for you.', { button: 'Try again', press: () => location.reload() });
  } else closed('Open the link in your invitation', 'This page needs the whole link that was sent to you. Go back to the invitation and open the link there.');
}
