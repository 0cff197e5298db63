// What a conversation and the list of conversations look like. All text of people goes in as
// textContent; nothing in it is a link or is loaded.

export const $ = (id) => document.getElementById(id);

// make builds an element with a class and text or children.
export function make(tag, className = '', ...children) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  e.append(...children);
  return e;
}

const clock = (d) => d.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });

function day(d) {
  const days = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(d).setHours(0, 0, 0, 0)) / 86_400_000);
  if (days === 0) return 'Today';
  if (days === 1) return 'Yesterday';
  return d.toLocaleDateString([], { weekday: 'long', day: 'numeric', month: 'long' });
}

const states = { sending: 'Sending…', accepted: 'Waiting', sent: '✓ Sent', delivered: '✓✓ Delivered', displayed: '✓✓ Seen', failed: 'Not delivered' };
const presence = { online: 'online', offline: 'offline', 'not-rcs': 'not reachable' };

export const presenceOf = (talk) => (talk.ended ? 'ended' : presence[talk.status] || 'state unknown');

export function drawFace(e, talk) {
  e.textContent = [...talk.name][0].toUpperCase();
  e.dataset.status = talk.ended ? '' : talk.status;
}

// drawList shows who invited; an item is made once for each and then kept, so that focus stays.
export function drawList(talks, open, choose) {
  const items = talks.map((talk) => {
    talk.item ||= item(talk, choose);
    const { face, name, line, badge, state, button } = talk.item;
    drawFace(face, talk);
    name.textContent = talk.name;
    state.textContent = presenceOf(talk);
    state.dataset.status = talk.status;
    const last = talk.messages.at(-1);
    line.textContent = talk.typing ? 'is typing…' : last ? (last.mine ? 'You: ' : '') + last.text.slice(0, 200) : talk.address;
    badge.hidden = !talk.unread;
    badge.firstChild.textContent = talk.unread;
    button.setAttribute('aria-current', String(talk === open));
    return talk.item.li;
  });
  const list = $('list');
  if (items.length !== list.children.length || items.some((li, i) => list.children[i] !== li)) list.replaceChildren(...items);
}

function item(talk, choose) {
  const face = make('span', 'face');
  face.setAttribute('aria-hidden', 'true');
  const name = make('span', 'name');
  const state = make('span', 'status');
  const line = make('span', 'line');
  const badge = make('span', 'badge', make('span'), make('span', 'hidden', ' unread'));
  const button = make('button', 'person', face, make('span', 'two', make('span', 'top', name, ' ', state), make('span', 'bottom', line, ' ', badge)));
  button.type = 'button';
  button.dataset.uri = talk.uri;
  button.onclick = () => choose(talk);
  return { li: make('li', '', button), face, name, state, line, badge, button };
}

// drawTalk shows a conversation. Elements of messages are kept and only new ones are added,
// so that a screen reader says each once.
export function drawTalk(talk, again) {
  $('talk-name').textContent = talk.name;
  drawFace($('talk-face'), talk);
  $('talk-status').textContent = presenceOf(talk);
  $('talk-status').dataset.status = talk.status;
  $('talk-address').textContent = talk.address;
  $('typing').textContent = talk.typing ? `${talk.name} is typing…` : '';
  $('older').hidden = talk.complete;
  $('empty').hidden = !talk.complete || talk.messages.length > 0;
  $('empty').textContent = `Nothing written yet. Say hello to ${talk.name}.`;
  $('composer').hidden = Boolean(talk.ended);
  $('over').hidden = !talk.ended;
  $('over').textContent = talk.ended;

  const wanted = [];
  let today = '';
  for (const m of talk.messages) {
    const name = day(m.time);
    if (name !== today) {
      today = name;
      talk.days ||= new Map();
      if (!talk.days.has(name)) talk.days.set(name, make('li', 'day', name));
      wanted.push(talk.days.get(name));
    }
    m.bubble ||= bubble(m, talk);
    if (m.mine && m.bubble.shown !== m.state) drawState(m, again);
    wanted.push(m.bubble.li);
  }
  const log = $('log');
  for (const li of [...log.children]) if (!wanted.includes(li)) li.remove();
  wanted.forEach((li, i) => { if (log.children[i] !== li) log.insertBefore(li, log.children[i] || null); });
}

function bubble(m, talk) {
  const text = make('p', 'text', m.text);
  text.dir = 'auto';
  const time = make('time', '', clock(m.time));
  time.dateTime = m.time.toISOString();
  const state = make('span', 'state');
  const li = make('li', m.mine ? 'message mine' : 'message', make('span', 'hidden', m.mine ? 'You: ' : `${talk.name}: `), text, make('p', 'meta', time, ' ', state));
  return { li, state };
}

function drawState(m, again) {
  const { li, state } = m.bubble;
  m.bubble.shown = li.dataset.state = m.state;
  state.textContent = states[m.state] + (m.state === 'failed' && m.reason ? `: ${m.reason}` : '');
  if (m.state !== 'failed') return;
  const button = make('button', 'plain', 'Send again');
  button.type = 'button';
  button.onclick = () => again(m);
  li.append(button);
}
