// Alice's phone: a thin view of the demo's RCS phone. All that is true lives in the phone; this page
// shows what its event stream tells.
const $ = (id) => document.getElementById(id);
const chats = new Map(); // peer URI -> {lines: [], typing, unread}
let current = null;

function make(tag, className, text) {
  const e = document.createElement(tag);
  e.className = className;
  e.textContent = text;
  return e;
}

function chat(peer) {
  if (!chats.has(peer)) chats.set(peer, { lines: [], typing: false });
  current ||= peer;
  return chats.get(peer);
}

// The guest's account is made of their e-mail address or number.
const name = (peer) => peer.replace(/^sips?:/, '').replace(/@.*$/, '').replace('_at_', '@');
const unread = (c) => c.lines.filter((l) => l.text && !l.mine && !l.read).length;
const states = { sending: 'Sending…', sent: '✓ Sent', delivered: '✓✓ Delivered', displayed: '✓✓ Seen', failed: 'Not delivered' };
const clock = (time) => new Date(time).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });

function draw() {
  $('chats').replaceChildren(...[...chats].map(([peer, c]) => {
    const b = make('button', '', name(peer));
    b.type = 'button';
    b.setAttribute('aria-pressed', String(peer === current));
    if (unread(c) && peer !== current) b.append(make('span', 'badge', String(unread(c))));
    b.onclick = () => { current = peer; draw(); };
    return b;
  }));
  const c = current && chat(current);
  const lines = c?.lines.length ? c.lines : [c ? { hint: 'Nothing written yet. The guest sees what you write here as soon as they open the link in the mail.' } : { hint: 'Invite somebody. They get a mail with a link, and the chat appears here.' }];
  const items = lines.map((l) => {
    l.item ||= item(l);
    if (l.mine) l.item.lastChild.textContent = `${clock(l.time)} · ${states[l.state] || l.state}`;
    l.item.classList.toggle('failed', l.state === 'failed');
    return l.item;
  });
  const thread = $('thread');
  for (const li of [...thread.children]) if (!items.includes(li)) li.remove();
  items.forEach((li, i) => { if (thread.children[i] !== li) thread.insertBefore(li, thread.children[i] || null); });
  $('scroll').scrollTop = $('scroll').scrollHeight;
  $('typing').textContent = c?.typing ? `${name(current)} is typing…` : '';
  $('text').disabled = $('send').disabled = $('picture').disabled = !current;
  read();
}

function item(l) {
  if (!l.text) return make('li', 'notice', l.hint);
  const li = make('li', l.mine ? 'bubble mine' : 'bubble', '');
  const text = make('span', 'text', l.text);
  text.dir = 'auto';
  li.append(text, make('small', '', clock(l.time)));
  return li;
}

// read tells the guest that Alice has seen their messages: the conversation is on the screen.
function read() {
  if (!current || document.hidden) return;
  for (const l of chat(current).lines) {
    if (l.mine || !l.text || l.read) continue;
    l.read = true;
    post('/phone/read', { to: current, id: l.id }).catch(() => {});
  }
}
document.addEventListener('visibilitychange', draw);

async function post(path, body) {
  const r = await fetch(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
  const answer = await r.json().catch(() => ({}));
  if (!r.ok) throw new Error(answer.error || `The phone answered ${r.status}.`);
  return answer;
}

const find = (id) => [...chats.values()].flatMap((c) => c.lines).find((l) => l.id === id);
const line = (e) => ({ id: e.id, text: e.text, time: e.time, mine: e.mine, state: e.state, read: e.file });
const hear = {
  reset() { chats.clear(); current = null; },
  chat(e) { chat(e.peer); },
  message(e) { const c = chat(e.peer); c.typing = false; c.lines.push(line(e)); },
  state(e) { const l = find(e.id); if (l) l.state = e.state; },
  read(e) { const l = find(e.id); if (l) l.read = true; },
  composing(e) { chat(e.peer).typing = Boolean(e.active); },
  online(e) {
    $('power').textContent = e.online ? 'Online' : 'Offline';
    $('power').setAttribute('aria-pressed', String(Boolean(e.online)));
  },
};

let drawn = 0;
new EventSource('/phone/events').onmessage = (m) => {
  const e = JSON.parse(m.data);
  hear[e.type]?.(e);
  drawn ||= setTimeout(() => { drawn = 0; draw(); }); // all that came at once is drawn once
};

// order has the phone do something; what goes wrong is said under the form.
async function order(path, body) {
  $('error').textContent = '';
  try { return await post(path, body); } catch (problem) { $('error').textContent = problem.message; }
}

const kinds = { '': 'a mail', sms: 'an SMS', mms: 'an MMS' };
const isNumber = () => /^\s*\+/.test($('identifier').value);
$('identifier').oninput = () => { $('channels').hidden = !isNumber(); };

$('picture').onclick = () => order('/phone/picture', { to: current });

$('invite').onsubmit = async (e) => {
  e.preventDefault();
  $('invite-button').disabled = true;
  const whom = $('identifier').value.trim();
  const channel = isNumber() ? document.querySelector('[name=channel]:checked').value : '';
  const answer = await order('/phone/invite', isNumber() ? { tel: whom.replace(/[\s()-]/g, ''), channel } : { email: whom });
  $('invite-button').disabled = false;
  $('done').hidden = !answer;
  if (!answer) return;
  $('done-text').textContent = answer.created ? `${whom} gets ${kinds[channel]}.` : `${whom} was invited before and gets one more.`;
  chat(answer.account);
  current = answer.account;
  draw();
};

$('composer').onsubmit = async (e) => {
  e.preventDefault();
  const text = $('text').value;
  if (!text.trim() || !current) return;
  $('text').value = '';
  typed = 0;
  clearTimeout(pause);
  await order('/phone/send', { to: current, text });
};

let typed = 0;
let pause = 0;
$('text').oninput = () => {
  const to = current;
  const tell = (active) => { typed = active ? Date.now() : 0; post('/phone/composing', { to, active }).catch(() => {}); };
  clearTimeout(pause);
  if (!$('text').value) return typed ? tell(false) : undefined;
  if (Date.now() - typed > 30_000) tell(true);
  pause = setTimeout(tell, 8000, false);
};

$('power').onclick = () => order('/phone/online', { online: $('power').getAttribute('aria-pressed') !== 'true' });

draw();
