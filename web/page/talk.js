// One conversation with one inviter: what was said, what waits to be sent, what is unread. It knows
// nothing of the screen; changed() is called when there is something new to show.

import { Problem, account, call, history, pageSize, persist } from './api.js';
import * as keep from './keep.js';
import { Upload } from './upload.js';
import { explain, t } from './words.js';

const rank = ['sending', 'accepted', 'sent', 'delivered', 'displayed'];

// Works where crypto.randomUUID doesn't: on plain HTTP.
const newID = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, '0')).join('');

// Files and messages have ids of their own, and stand in one list.
const fileID = (id) => `file ${id}`;

export class Talk {
  // {id, key, mine, text, file, blob, time, state, reason, read, part}; id is null until the gateway has it. What
  // has a file has its name as text; blob is one that was chosen here, part how much of it has gone.
  messages = [];
  typing = false;
  ended = ''; // why nothing can be written any more
  draft = '';
  mark = null; // the first message that was unread when the conversation was opened
  #sources = { message: { complete: false, oldest: null }, file: { complete: true, oldest: null } };
  #early = new Map(); // states that came before the answer to our own request
  #sending = new Set(); // 'text' and 'file', each while it is being sent
  #reading = false;
  #typed = 0;
  #pause = 0;

  constructor({ uri, name, status, interactions }, changed, lost) {
    Object.assign(this, { uri, name: name || nameOf(uri), address: addressOf(uri), status: status || 'unknown', changed, lost });
    this.allow(interactions);
  }

  // allow says what the invitation is for; true if files are new.
  allow(interactions) {
    const was = this.files;
    this.files = Boolean(interactions?.includes('file'));
    if (this.files && !was) this.#sources.file.complete = false;
    return this.files && !was;
  }

  get unread() { return this.messages.filter((m) => !m.mine && !m.read).length; }
  get waiting() { return this.messages.filter((m) => m.state === 'sending').length; }
  get complete() { return Object.values(this.#sources).every((s) => s.complete); } // nothing earlier is left at the gateway
  find(id) { return this.messages.find((m) => m.id === id); }

  // shown is what may be shown without a gap: pages of messages and of files reach back differently far.
  get shown() {
    const from = Math.max(0, ...Object.values(this.#sources).filter((s) => !s.complete && s.oldest).map((s) => s.oldest.time));
    return from ? this.messages.filter((m) => !m.id || m.time >= from) : this.messages;
  }

  // load gets the newest messages and files, or those before the first ones.
  async load(earlier = false) {
    await Promise.all(Object.entries(this.#sources).map(async ([kind, source]) => {
      if (kind === 'file' && !this.files || earlier && source.complete) return;
      const page = (await persist(() => history(kind, this.uri, earlier && source.oldest?.id)))[`${kind}s`];
      if (page.length < pageSize && (earlier || !source.oldest)) source.complete = true;
      for (const m of page) {
        const time = new Date(m.time);
        if (!source.oldest || time < source.oldest.time) source.oldest = { id: m.id, time };
        const mine = m.from ? m.from !== this.uri : Boolean(m.to);
        const id = kind === 'file' ? fileID(m.id) : m.id;
        const known = this.find(id);
        if (known) move(known, m.state, m.reason);
        else if (m.state !== 'receiving') this.messages.push({ id, mine, ...content(m, kind === 'file'), time, state: m.state, reason: m.reason, read: m.state === 'displayed' || m.state === 'failed' });
      }
    }));
    this.#sort();
    this.changed(this);
  }

  // What waits stands last; the gateway's times order the rest.
  #sort() {
    const at = (m) => (m.id || m.state === 'failed' ? m.time.getTime() : Infinity);
    this.messages.sort((a, b) => (at(a) === at(b) ? 0 : at(a) - at(b)));
  }

  // arrived takes a message or file of the inviter's; false if it was there.
  arrived({ message, file, time }) {
    this.typing = false;
    const id = file ? fileID(file.id) : message.id;
    const { complete, oldest } = this.#sources[file ? 'file' : 'message'];
    time = new Date(time);
    if (this.find(id) || !complete && oldest && time < oldest.time) return false; // known, or comes with what is earlier
    this.messages.push({ id, mine: false, ...content(file || message, file), time, state: file?.state || 'delivered', reason: file?.reason, read: false });
    this.#sort();
    this.changed(this);
    return true;
  }

  // delivery notes how far a message or file of ours has come; false if it isn't known here.
  delivery({ message, file }) {
    const id = file ? fileID(file.id) : message.id;
    const { state, reason } = file || message;
    const m = this.find(id);
    if (!m) {
      if (this.#sending.size) this.#early.set(id, [...(this.#early.get(id) || []), [state, reason]]);
      return this.#sending.size > 0;
    }
    move(m, state, reason);
    this.changed(this);
    return true;
  }

  // send shows a text or a file at once and sends it when it can. Its own id makes a repeat harmless, also after
  // the page was loaded again.
  send(text, blob = null) {
    const m = { id: null, key: newID(), mine: true, text, time: new Date(), state: 'sending', part: 0 };
    if (blob) Object.assign(m, { blob, file: { name: text, size: blob.size, type: blob.type } });
    this.messages.push(m);
    this.#typed = 0;
    clearTimeout(this.#pause);
    this.#keep(m);
    this.changed(this);
    this.#pump(m);
  }

  // restore takes up what was waiting when the page was closed.
  restore({ key, text, blob, time, failed }) {
    if (this.messages.some((m) => m.key === key)) return;
    const m = { id: null, key, mine: true, text, time: new Date(time), state: failed ? 'failed' : 'sending', reason: failed, part: 0, kept: true };
    if (blob) Object.assign(m, { blob, file: { name: text, size: blob.size, type: blob.type } });
    this.messages.push(m);
    this.#sort();
    if (!failed) this.#pump(m);
  }

  async #keep(m) {
    m.kept = await keep.put({ key: m.key, account, uri: this.uri, text: m.text, blob: m.blob, time: m.time.getTime(), failed: m.state === 'failed' ? m.reason : '' });
    if (m.state !== 'sending' && m.state !== 'failed') keep.drop(m.key); // it was faster
  }

  // again sends what failed, as a new one; drop forgets it, and takes back a file that is under way.
  again(m) {
    this.drop(m);
    this.send(m.text, m.blob);
  }

  drop(m) {
    m.upload?.cancel();
    m.state = 'dropped';
    this.messages = this.messages.filter((other) => other !== m);
    if (m.key) keep.drop(m.key);
    this.changed(this);
  }

  // One text after the other, so that they arrive as they were written; files beside them, so that a large one
  // holds up none.
  async #pump({ blob }) {
    const lane = blob ? 'file' : 'text';
    if (this.#sending.has(lane)) return;
    this.#sending.add(lane);
    for (let m; (m = this.messages.find((w) => w.state === 'sending' && !w.id && !w.blob === !blob));) {
      try {
        const answer = m.blob ? await this.#upload(m) : await persist(() => call('POST', 'message', { to: this.uri, message: m.text, id: m.key }));
        const id = m.blob ? fileID(answer.id) : answer.id;
        const shown = this.find(id); // by a history that was loaded in the meantime
        if (shown) this.messages.splice(this.messages.indexOf(shown), 1);
        Object.assign(m, { id, time: new Date(answer.time) });
        if (m.blob) Object.assign(m, content({ ...answer, preview: false }, true));
        move(m, answer.state || 'accepted', answer.reason);
        if (shown) move(m, shown.state, shown.reason);
        for (const [state, reason] of this.#early.get(id) || []) move(m, state, reason);
        keep.drop(m.key);
      } catch (problem) {
        if (!(problem instanceof Problem)) throw problem;
        if (m.state === 'dropped') continue;
        move(m, 'failed', explain(problem));
        if (problem.status === 401) this.lost(problem);
        else this.#keep(m);
      }
      this.#sort();
      this.changed(this);
    }
    this.#sending.delete(lane);
    if (!this.#sending.size) this.#early.clear();
  }

  #upload(m) {
    m.upload = new Upload(this.uri, m.key, m.blob, m.text, (part) => { m.part = part; this.changed(this); });
    return m.upload.run();
  }

  // typed tells the inviter that the guest is writing, and after a pause that they stopped.
  typed(text) {
    const tell = (state) => call('POST', 'composing', { to: this.uri, state }).catch(() => {});
    clearTimeout(this.#pause);
    const stop = () => { this.#typed = 0; tell('idle'); };
    if (!text) {
      if (this.#typed) stop();
      return;
    }
    if (Date.now() - this.#typed > 30_000) { // RFC 3994 §3.2: a refresh now and then
      this.#typed = Date.now();
      tell('active');
    }
    this.#pause = setTimeout(stop, 10_000);
  }

  // seen says that the guest has read all that is here; the gateway counts what was before, too.
  async seen() {
    const news = this.messages.filter((m) => !m.mine && !m.read);
    if (!news.length || this.#reading) return;
    this.#reading = true;
    news.forEach((m) => { m.read = true; });
    this.changed(this);
    // The last message stands for those before it; each file stands for itself.
    for (const m of [news.findLast((n) => !n.file), ...news.filter((n) => n.file && n.state !== 'failed')]) {
      if (m) await persist(() => call('POST', 'read', { id: m.file?.id || m.id })).catch(() => {});
    }
    this.#reading = false;
    if (this.unread) this.changed(this); // more came meanwhile: whoever shows it says so again
  }
}

// content is what a message or a file of the gateway's shows.
function content(m, isFile) {
  return isFile ? { text: m.name, file: { id: m.id, name: m.name, size: m.size, type: m.type, preview: m.preview } } : { text: m.text };
}

// line is a message in one line.
export const line = (m) => (m.file ? t('file', { name: m.file.name }) : m.text.slice(0, 200));

// move takes a message forward, never back: events and answers may overtake each other.
function move(m, state, reason) {
  if (m.state === 'failed' || !m.mine || !state) return;
  if (state === 'failed' ? rank.indexOf(m.state) < 3 : rank.indexOf(state) > rank.indexOf(m.state)) Object.assign(m, { state, reason });
}

export const addressOf = (uri) => uri.replace(/^(sips?|tel):/, '');
export const nameOf = (uri) => addressOf(uri).replace(/@.*/, '');
