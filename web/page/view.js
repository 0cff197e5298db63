// What a conversation and the list of conversations look like. All text of people goes in as textContent; what
// looks like an address in it becomes a link to press, and nothing is ever loaded because of it.

import { fileURL } from './api.js';
import { line } from './talk.js';
import { clock, count, day, lang, size, t } from './words.js';

export const $ = (id) => document.getElementById(id);

// make builds an element with a class and text or children.
export function make(tag, className = '', ...children) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  e.append(...children);
  return e;
}

// press makes a button.
export function press(className, name, act) {
  const b = make('button', className, name);
  b.type = 'button';
  b.onclick = act;
  return b;
}

// say sets a text only if it is another: what is announced is announced once.
export function say(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

const presence = ['online', 'offline', 'not-rcs'];

export const presenceOf = (talk) => t(talk.ended ? 'over-state' : presence.includes(talk.status) ? talk.status : 'state-unknown');

export function drawFace(e, talk) {
  e.textContent = [...talk.name][0].toUpperCase();
  e.dataset.status = talk.ended ? '' : talk.status;
}

// drawList shows who invited; an item is made once for each and then kept, so that focus stays.
export function drawList(talks, open, choose) {
  const items = talks.map((talk) => {
    talk.item ||= item(talk, choose);
    const { face, name, last, badge, state, button } = talk.item;
    drawFace(face, talk);
    name.textContent = talk.name;
    state.textContent = presenceOf(talk);
    state.dataset.status = talk.status;
    const m = talk.messages.at(-1);
    last.textContent = talk.typing ? t('is-typing') : m ? (m.mine ? t('you') : '') + line(m) : talk.address;
    last.classList.toggle('live', talk.typing);
    badge.hidden = !talk.unread;
    badge.firstChild.textContent = talk.unread;
    badge.lastChild.textContent = count('unread', talk.unread);
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
  name.dir = 'auto';
  const state = make('span', 'status');
  const last = make('span', 'line');
  last.dir = 'auto';
  const figure = make('span');
  figure.setAttribute('aria-hidden', 'true');
  const badge = make('span', 'badge', figure, make('span', 'hidden'));
  const button = press('person', '', () => choose(talk));
  button.append(face, make('span', 'two', make('span', 'top', name, ' ', state), make('span', 'bottom', last, ' ', badge)));
  button.dataset.uri = talk.uri;
  return { li: make('li', '', button), face, name, state, last, badge, button };
}

// drawTalk shows a conversation. Elements of messages are kept and only new ones are added,
// so that a screen reader says each once.
export function drawTalk(talk, look) {
  say($('talk-name'), talk.name);
  drawFace($('talk-face'), talk);
  $('talk-status').textContent = presenceOf(talk);
  $('talk-status').dataset.status = talk.ended ? '' : talk.status;
  $('talk-address').textContent = talk.address;
  say($('typing'), talk.typing ? t('typing', { name: talk.name }) : '');
  $('older').hidden = talk.complete;
  $('empty').hidden = !talk.complete || talk.messages.length > 0;
  $('empty').textContent = t('empty', { name: talk.name });
  $('composer').hidden = Boolean(talk.ended);
  $('attach').hidden = $('camera').hidden = !talk.files;
  $('over').hidden = !talk.ended;
  say($('over'), talk.ended);

  const wanted = [];
  let today = '';
  talk.days ||= new Map();
  const mark = (name, className) => {
    if (!talk.days.has(name)) talk.days.set(name, make('p', className, name));
    wanted.push(talk.days.get(name));
  };
  for (const m of talk.shown) {
    const name = day(m.time);
    if (name !== today) mark(today = name, 'day');
    if (m === talk.mark) mark(t('newest'), 'day news');
    m.bubble ||= bubble(m, talk, look);
    drawState(m, talk);
    wanted.push(m.bubble.box);
  }
  const log = $('log');
  for (const e of [...log.children]) if (!wanted.includes(e)) e.remove();
  wanted.forEach((e, i) => { if (log.children[i] !== e) log.insertBefore(e, log.children[i] || null); });
}

function bubble(m, talk, look) {
  const time = make('time', '', clock(m.time));
  time.dateTime = m.time.toISOString();
  const state = make('span', 'state');
  const body = m.file ? make('div', 'file') : rich(m.text);
  const box = make('div', m.mine ? 'message mine' : 'message', make('span', 'hidden', m.mine ? t('you') : t('said', { name: talk.name })), body, make('p', 'meta', time, ' ', state));
  if (!m.file && big.test(m.text)) box.classList.add('big');
  return { box, state, body, look };
}

// Up to three emoji alone are shown large, where the browser knows what one is.
const big = (() => { try { return new RegExp('^(?:\\p{RGI_Emoji}\\s?){1,3}$', 'v'); } catch { return /^(?!)/; } })();

const address = /https?:\/\/[^\s<>"'\p{Cc}\p{Cf}]*[^\s<>"'\p{Cc}\p{Cf}.,;:!?)\]}…]/giu;

// rich is a text whose addresses can be pressed. What opens there learns nothing of this page.
export function rich(text) {
  const p = make('p', 'text');
  p.dir = 'auto';
  let from = 0;
  for (const { 0: found, index } of text.matchAll(address)) {
    if (!URL.canParse?.(found)) continue;
    const a = make('a', '', found);
    Object.assign(a, { href: found, target: '_blank', rel: 'noopener noreferrer', dir: 'ltr' });
    p.append(text.slice(from, index), a);
    from = index + found.length;
  }
  p.append(text.slice(from));
  return p;
}

// drawFile fills a bubble with what can be seen of a file by now.
function drawFile(m, body, look) {
  const { id, name, preview, type } = m.file;
  const there = id && m.state !== 'failed';
  const seen = `${Boolean(there)} ${preview} ${m.state === 'sending'}`;
  if (body.dataset.seen === seen) return;
  body.dataset.seen = seen;
  const parts = [];
  if (m.thumb || there && preview) {
    if (!m.thumb) m.thumb = Object.assign(make('img'), { src: fileURL(id, true), alt: '', loading: 'lazy', width: 240, height: 180 });
    m.thumb.onload = look;
    const open = press('picture', m.thumb, () => show(m));
    open.ariaLabel = t('show', { name });
    open.disabled = !there;
    parts.push(open);
  } else if (m.blob?.type.startsWith('image/')) {
    thumbnail(m.blob, 240).then((canvas) => {
      m.thumb = canvas;
      body.dataset.seen = '';
      drawFile(m, body, look);
      look();
    }, () => {}); // no picture after all
  }
  const label = make('span', '', make('bdi', 'file-name', name), ' ', make('span', 'file-size', size(m.file.size)));
  if (there) {
    const a = make('a', 'file-line', make('span', 'file-sign', '↓'), label);
    Object.assign(a, { href: fileURL(id), download: name, ariaLabel: `${t('download', { name })}, ${size(m.file.size)}` });
    parts.push(a);
  } else parts.push(make('p', 'file-line', make('span', 'file-sign', sign(type)), label));
  body.replaceChildren(...parts);
}

const sign = (type) => (/^image\//.test(type) ? '▣' : /^(audio|video)\//.test(type) ? '▶' : '▤');

// thumbnail draws a picture that was chosen on this device, no larger than a square.
export async function thumbnail(blob, most) {
  const picture = await createImageBitmap(blob);
  const scale = Math.min(1, most / Math.max(picture.width, picture.height));
  const canvas = make('canvas');
  canvas.width = Math.max(1, picture.width * scale);
  canvas.height = Math.max(1, picture.height * scale);
  canvas.getContext('2d').drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture.close();
  return canvas;
}

// show opens a picture over everything else.
function show({ file: { id, name } }) {
  $('picture').src = fileURL(id);
  $('picture').alt = name;
  $('viewer').ariaLabel = t('show', { name });
  Object.assign($('picture-save'), { href: fileURL(id), download: name, textContent: t('download', { name }) });
  $('viewer').showModal();
}

// drawState shows how far a message has come, and what can be done about it.
function drawState(m, talk) {
  const { box, state, body, look } = m.bubble;
  if (m.file) drawFile(m, body, look);
  if (m.bubble.bar) m.bubble.bar.value = m.part;
  if (m.bubble.shown === m.state) return;
  m.bubble.shown = box.dataset.state = m.state;
  m.bubble.bar = null;
  box.querySelector('.acts')?.remove();
  if (!m.mine) {
    state.textContent = m.state === 'failed' ? `${t('gone')} ${lang === 'en' && m.reason || ''}` : '';
    return;
  }
  state.textContent = m.state === 'failed' && m.reason ? t('failed-because', { reason: m.reason }) : t(`state-${m.state}`);
  const acts = make('div', 'acts');
  if (m.state === 'failed' && (m.blob || !m.file)) acts.append(press('plain', t('send-again'), () => talk.again(m)));
  if (m.state === 'failed' && !m.id) acts.append(press('plain', t('delete'), () => talk.drop(m)));
  if (m.state === 'sending' && m.file) {
    m.bubble.bar = Object.assign(make('progress'), { max: 1, value: m.part, ariaLabel: t('progress', { name: m.file.name }) });
    acts.append(m.bubble.bar, press('plain', t('cancel'), () => talk.drop(m)));
  }
  if (acts.firstChild) box.append(acts);
}
