// One conversation with one inviter: what was said, what waits to be sent, what is unread. It knows
// nothing of the screen; changed() is called when there is something new to show.

import { call, history, persist } from './api.js';

const rank = ['sending', 'accepted', 'sent', 'delivered', 'displayed'];

// Works where crypto.randomUUID doesn't: on plain HTTP.
const newID = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, '0')).join('');

export class Talk {
  messages = []; // {id, mine, text, time, state, reason, read}; id is null until the gateway has it
  typing = false;
  ended = ''; // why nothing can be written any more
  draft = '';
  complete = false; // nothing earlier is left at the gateway
  #loaded = false;
  #early = new Map(); // states that came before the answer to our own request
  #sending = false;
  #reading = false;
  #typed = 0;
  #pause = 0;

  constructor({ uri, name, status }, changed, lost) {
    Object.assign(this, { uri, name: name || nameOf(uri), address: addressOf(uri), status: status || 'unknown', changed, lost });
  }

  get unread() { return this.messages.filter((m) => !m.mine && !m.read).length; }
  get waiting() { return this.messages.filter((m) => m.state === 'sending').length; }
  find(id) { return this.messages.find((m) => m.id === id); }

  // load gets the newest messages, or those before the first one.
  async load(earlier = false) {
    const first = earlier && this.messages.find((m) => m.id)?.id;
    const { messages } = await persist(() => history(this.uri, first));
    if (messages.length < 50 && (earlier || !this.#loaded)) this.complete = true;
    this.#loaded = true;
    for (const m of messages) {
      const mine = m.from ? m.from !== this.uri : Boolean(m.to);
      const known = this.find(m.id);
      if (known) move(known, m.state, m.reason);
      else this.messages.push({ id: m.id, mine, text: m.text, time: new Date(m.time), state: m.state, reason: m.reason, read: m.state === 'displayed' });
    }
    this.#sort();
    this.changed(this);
  }

  // What waits stands last; the gateway's times order the rest.
  #sort() {
    const at = (m) => (m.id || m.state === 'failed' ? m.time.getTime() : Infinity);
    this.messages.sort((a, b) => (at(a) === at(b) ? 0 : at(a) - at(b)));
  }

  // arrived takes a message of the inviter's; false if it was there.
  arrived({ id, text }, time) {
    this.typing = false;
    const first = this.messages.find((m) => m.id);
    if (this.find(id) || !this.complete && first && new Date(time) < first.time) return false; // known, or comes with what is earlier
    this.messages.push({ id, mine: false, text, time: new Date(time), state: 'delivered', read: false });
    this.#sort();
    this.changed(this);
    return true;
  }

  // delivery notes how far a message of ours has come; false if it isn't known here.
  delivery({ id, state, reason }) {
    const m = this.find(id);
    if (!m) {
      if (this.#sending) this.#early.set(id, [...(this.#early.get(id) || []), [state, reason]]);
      return this.#sending;
    }
    move(m, state, reason);
    this.changed(this);
    return true;
  }

  // send shows a message at once and sends it when it can. Its own id makes a repeat harmless.
  send(text) {
    this.messages.push({ id: null, key: newID(), mine: true, text, time: new Date(), state: 'sending' });
    this.#typed = 0;
    clearTimeout(this.#pause);
    this.changed(this);
    this.#pump();
  }

  // again sends a message that failed, as a new one.
  again(m) {
    this.messages.splice(this.messages.indexOf(m), 1);
    this.send(m.text);
  }

  // One after the other, so that they arrive as they were written.
  async #pump() {
    if (this.#sending) return;
    this.#sending = true;
    for (let m; (m = this.messages.find((w) => w.state === 'sending' && !w.id));) {
      try {
        const answer = await persist(() => call('POST', 'message', { to: this.uri, message: m.text, id: m.key }));
        const shown = this.find(answer.id); // by a history that was loaded in the meantime
        if (shown) this.messages.splice(this.messages.indexOf(shown), 1);
        Object.assign(m, { id: answer.id, time: new Date(answer.time) });
        move(m, answer.state || 'accepted');
        if (shown) move(m, shown.state, shown.reason);
        for (const [state, reason] of this.#early.get(answer.id) || []) move(m, state, reason);
      } catch (problem) {
        move(m, 'failed', problem.message);
        if (problem.status === 401) this.lost(problem);
      }
      this.#sort();
      this.changed(this);
    }
    this.#early.clear();
    this.#sending = false;
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
    await persist(() => call('POST', 'read', { id: news.at(-1).id })).catch(() => {});
    this.#reading = false;
    if (this.unread) this.changed(this); // more came meanwhile: whoever shows it says so again
  }
}

// move takes a message forward, never back: events and answers may overtake each other.
function move(m, state, reason) {
  if (m.state === 'failed' || !m.mine || !state) return;
  if (state === 'failed' ? rank.indexOf(m.state) < 3 : rank.indexOf(state) > rank.indexOf(m.state)) Object.assign(m, { state, reason });
}

export const addressOf = (uri) => uri.replace(/^(sips?|tel):/, '');
export const nameOf = (uri) => addressOf(uri).replace(/@.*/, '');
