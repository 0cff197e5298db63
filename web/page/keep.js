// What this browser keeps between two visits: what waits to be sent, and whether the guest of this link is in, or why
// no longer. Never what opens the chat: the password stays in memory, and the cookie out of reach of scripts.

const opened = new Promise((done, fail) => {
  const ask = indexedDB.open('latchkey', 1);
  ask.onupgradeneeded = () => ask.result.createObjectStore('outbox', { keyPath: 'key' });
  ask.onsuccess = () => done(ask.result);
  ask.onerror = () => fail(ask.error);
});
opened.catch(() => {}); // a browser that keeps nothing still chats

async function outbox(mode, act) {
  const tx = (await opened).transaction('outbox', mode);
  const ask = act(tx.objectStore('outbox'));
  return new Promise((done, fail) => {
    tx.oncomplete = () => done(ask.result);
    tx.onabort = tx.onerror = () => fail(tx.error);
  });
}

// put keeps something that waits: {key, account, uri, time} with text, or with file and name; true once it is safe.
export const put = (entry) => outbox('readwrite', (o) => o.put(entry)).then(() => true, () => false);
export const drop = (key) => outbox('readwrite', (o) => o.delete(key)).catch(() => {});
export const waiting = (account) =>
  outbox('readonly', (o) => o.getAll()).then((all) => all.filter((e) => e.account === account).sort((a, b) => a.time - b.time), () => []);

// note remembers how it stands with an account: 'in', or why it is over. Where nothing can be kept, nothing is known.
export function note(account, state) {
  try { localStorage.setItem(`latchkey ${account}`, state); } catch { /* not kept */ }
}

export function noted(account) {
  try { return localStorage.getItem(`latchkey ${account}`) || ''; } catch { return 'in'; }
}

// forget erases what waits of an account that is over.
export async function forget(account) {
  for (const { key } of await waiting(account)) drop(key);
}
