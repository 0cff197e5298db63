// One file on its way to the gateway. It is announced first and then sent from where the gateway stands, so a
// cut in the middle costs only what was in the air (draft-ietf-httpbis-resumable-upload).

import { Problem, base, call, fileURL, persist } from './api.js';

// RFC 8187 §3.2: what encodeURIComponent leaves and an extended value may not have.
const escaped = (name) => encodeURIComponent(name).replace(/['()*]/g, (c) => `%${c.charCodeAt(0).toString(16)}`);

// What is longer is not held in memory for its hash.
const hashed = 32 << 20;

// declared is the file's SHA-1 as the gateway wants it (RFC 9530): the inviter's phone may then have the file while it comes. Only pages that came safely
// have crypto.subtle, and a file that can't be read shows so when it is sent.
async function declared(file) {
  if (!crypto.subtle || !file.size || file.size > hashed) return {};
  try {
    const sum = new Uint8Array(await crypto.subtle.digest('SHA-1', await file.arrayBuffer()));
    return { 'Repr-Digest': `sha=:${btoa(String.fromCharCode(...sum))}:` };
  } catch { return {}; }
}

const wellFormed = (name) => { try { encodeURIComponent(name); return name; } catch { return 'file'; } };

export class Upload {
  #id = '';
  #request = null;
  #cancelled = false;
  #declared = null;

  constructor(to, key, file, name, moved) {
    Object.assign(this, { to, key, file, name: wellFormed(name), moved });
  }

  // run gives the gateway's answer once it has the whole file; a Problem says why it won't have it.
  run() {
    return persist(async () => {
      if (this.#cancelled) throw new Problem(499);
      const { id, offset, answer } = await this.#begin();
      this.#id = id;
      if (this.#cancelled) {
        this.#takeBack();
        throw new Problem(499);
      }
      return answer || this.#send(offset);
    });
  }

  // cancel ends it. An announcement that is under way is waited for: the gateway may have taken it.
  cancel() {
    this.#cancelled = true;
    if (!this.#id) return;
    this.#request.abort();
    this.#takeBack();
  }

  #takeBack() { persist(() => call('DELETE', `file/${this.#id}`)).catch(() => {}); }

  get cancelled() { return this.#cancelled; }

  // The same announcement again tells how far the upload has come, or that it is complete.
  async #begin() {
    this.#declared ||= await declared(this.file);
    if (this.#cancelled) throw new Problem(499);
    const { status, header, answer } = await this.#ask('POST', `file?to=${encodeURIComponent(this.to)}&id=${this.key}`, null, {
      'Content-Type': this.file.type || 'application/octet-stream',
      'Content-Disposition': `attachment; filename*=UTF-8''${escaped(this.name)}`,
      'Upload-Complete': '?0', 'Upload-Length': this.file.size, ...this.#declared,
    });
    if (status !== 201) return { answer, id: answer.id };
    return { id: header('Location').split('/').at(-1), offset: Number(header('Upload-Offset')) || 0 };
  }

  async #send(offset) {
    const { answer } = await this.#ask('PATCH', fileURL(this.#id), this.file.slice(offset), {
      'Content-Type': 'application/partial-upload', 'Upload-Complete': '?1', 'Upload-Offset': offset,
    }, (sent) => this.moved((offset + sent) / (this.file.size || 1)));
    return answer;
  }

  // Only XMLHttpRequest tells how much of a body has gone.
  #ask(method, path, body, headers, moved) {
    return new Promise((done, fail) => {
      const x = this.#request = new XMLHttpRequest();
      x.open(method, new URL(path, base));
      for (const [name, value] of Object.entries({ ...headers, Accept: 'application/json', 'Latchkey-Client': 'page' })) x.setRequestHeader(name, value);
      if (moved) x.upload.onprogress = (e) => moved(e.loaded);
      x.onload = () => {
        let answer = {};
        try { answer = JSON.parse(x.responseText); } catch { /* none */ }
        // A cut while the gateway still held the upload, or a file that was complete: begin asks anew.
        const again = x.status === 409 || x.status === 400 && /completed-upload/.test(answer.type);
        if (x.status < 300) done({ status: x.status, header: (name) => x.getResponseHeader(name), answer });
        else fail(new Problem(again ? 0 : x.status, answer, Number(x.getResponseHeader('Retry-After')) || 0));
      };
      x.onerror = x.onabort = () => fail(new Problem(this.#cancelled ? 499 : 0));
      x.send(body);
    });
  }
}
