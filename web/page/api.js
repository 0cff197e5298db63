// The gateway's HTTP interface, as far as the page needs it.

export const base = new URL('../../invitee/', import.meta.url); // this stands at app/HASH/

// Whose invitation this is: the last part of the page's path, plain or percent-encoded.
export const account = (() => {
  const written = location.pathname.split('/invitee/session/').slice(1).join('/invitee/session/');
  try { return decodeURIComponent(written); } catch { return written; }
})();

// Problem is an answer that is no success (RFC 9457). Status 0: there was none.
export class Problem extends Error {
  constructor(status, { type = '', title = '', detail = '' } = {}, wait = 0) {
    super(detail || title || (status ? `The service answered with the number ${status}.` : 'The network is down.'));
    Object.assign(this, { status, type, wait });
  }

  // Whether the same request may succeed later.
  get passing() { return [0, 429, 502, 503, 504].includes(this.status); }
}

// ask makes one request and gives its answer, whatever that is.
const ask = (path, init) => fetch(new URL(path, base), { cache: 'no-store', referrerPolicy: 'no-referrer', signal: AbortSignal.timeout(60_000), ...init });

// call makes one request; it gives the answer's JSON, or null where there is none.
export async function call(method, path, body) {
  const init = {
    method,
    headers: { Accept: 'application/json', 'Latchkey-Client': 'page' },
    credentials: 'same-origin',
  };
  if (body) {
    init.headers['Content-Type'] = 'application/json';
    init.body = JSON.stringify(body);
  }
  let status = 0;
  try {
    const answer = await ask(path, init);
    status = answer.status;
    if (answer.ok) return status === 204 ? null : await answer.json();
    throw new Problem(status, await answer.json().catch(() => ({})), Number(answer.headers.get('Retry-After')) || 0);
  } catch (e) {
    throw e instanceof Problem ? e : new Problem(0);
  }
}

// sleep also ends when the network comes back.
export function sleep(ms) {
  return new Promise((done) => {
    const end = () => { clearTimeout(timer); removeEventListener('online', end); done(); };
    const timer = setTimeout(end, ms);
    addEventListener('online', end);
  });
}

// persist repeats a call that may be repeated until it succeeds or fails for good.
export async function persist(request) {
  for (let pause = 500; ; pause = Math.min(2 * pause, 15_000)) {
    try { return await request(); } catch (problem) {
      if (!problem.passing) throw problem;
      await sleep(Math.max(pause * (0.5 + Math.random() / 2), problem.wait * 1000));
    }
  }
}

const session = `session/${encodeURIComponent(account)}`;

export const login = (passwd) => call('POST', session, { passwd });
export const current = () => call('GET', session); // by the cookie of an earlier login; changes nothing
export const leave = () => call('DELETE', session);
export const stop = (passwd) => call('POST', `optout/${encodeURIComponent(account)}`, { passwd }); // no more invitations, ever

// handover is the file that opens this chat in the stand-alone client; it has no password.
export async function handover() {
  const answer = await ask(session, { headers: { Accept: 'application/vnd.latchkey' }, credentials: 'omit' }).catch(() => null);
  if (!answer?.ok) throw new Problem(answer?.status || 0);
  return answer.blob();
}

export const pageSize = 50;

// history is a page of 'message' or 'file': the newest ones, or those before one of them.
export const history = (kind, uri, before) =>
  call('GET', `${kind}?with=${encodeURIComponent(uri)}&limit=${pageSize}${before ? `&before=${encodeURIComponent(before)}` : ''}`);

export const fileURL = (id, preview = false) => new URL(`file/${encodeURIComponent(id)}${preview ? '?preview=1' : ''}`, base).href;

// Events follows the guest's events: take(event) hears each once, in order; live(bool) whether the
// stream stands; over(problem) that it can't be had any more.
export class Events {
  #last = 0;
  #source = null;
  #stopped = false;
  #acking = false;
  #acked = 0;
  #pause = 500;

  constructor(take, live, over) {
    Object.assign(this, { take, live, over });
    let hidden = 0;
    // A connection that died while the device slept says nothing by itself.
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) hidden = Date.now();
      else if (Date.now() - hidden > 30_000) this.#open();
    });
    addEventListener('online', () => this.#open());
    addEventListener('offline', () => live(false));
    this.#open();
  }

  stop() {
    this.#stopped = true;
    this.#source?.close();
  }

  #open() {
    if (this.#stopped) return;
    this.#source?.close();
    // The browser itself reconnects with Last-Event-ID, which counts more than after.
    const source = new EventSource(new URL(this.#last ? `events?after=${this.#last}` : 'events', base));
    this.#source = source;
    source.onopen = () => { this.#pause = 500; this.live(true); };
    source.onerror = () => {
      this.live(false);
      if (source.readyState === EventSource.CLOSED && this.#source === source) this.#ask();
    };
    source.onmessage = (e) => this.#hear(JSON.parse(e.data));
  }

  #hear(event) {
    if (this.#stopped) return;
    if (event.id) { // a reconnect may repeat what came before; numbers only grow
      if (event.id <= this.#last) return;
      this.#last = event.id;
    }
    this.take(event);
    this.#ack();
  }

  // The browser has given up, since the answer was no stream: ask what is the matter.
  async #ask() {
    try {
      const { events } = await call('GET', `events?after=${this.#last}&wait=0`);
      events.forEach((e) => this.#hear(e));
    } catch (problem) {
      if (!problem.passing && problem.status < 500) {
        this.stop();
        this.over(problem);
        return;
      }
    }
    await sleep(this.#pause);
    this.#pause = Math.min(2 * this.#pause, 15_000);
    if (this.#source?.readyState === EventSource.CLOSED) this.#open();
  }

  // Reading after n says that all up to n has arrived.
  async #ack() {
    if (this.#acking) return;
    this.#acking = true;
    while (this.#acked < this.#last && !this.#stopped) {
      const n = this.#last;
      try { await persist(() => call('GET', `events?after=${n}&wait=0`)); } catch { break; }
      this.#acked = n;
    }
    this.#acking = false;
  }
}
