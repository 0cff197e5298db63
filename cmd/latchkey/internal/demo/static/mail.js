// The mailbox: shows each mail's plain text and turns its links into links.
let shown = -1;

function body(text) {
  const pre = document.createElement('pre');
  let rest = text;
  for (const link of text.match(/https?:\/\/[^\s<>"]+/g) || []) {
    const at = rest.indexOf(link);
    pre.append(rest.slice(0, at));
    const a = document.createElement('a');
    a.href = link;
    a.textContent = link;
    a.className = 'invitation-link';
    a.target = '_blank';
    a.rel = 'noreferrer';
    pre.append(a);
    rest = rest.slice(at + link.length);
  }
  pre.append(rest);
  return pre;
}

function row(dl, term, text) {
  const dt = document.createElement('dt');
  const dd = document.createElement('dd');
  dt.textContent = term;
  dd.textContent = text;
  dl.append(dt, dd);
}

async function refresh() {
  const mails = await (await fetch('/mail/list')).json();
  if (mails.length === shown) return;
  shown = mails.length;
  const box = document.getElementById('mails');
  if (!mails.length) {
    const p = document.createElement('p');
    p.className = 'empty';
    p.textContent = 'No mail yet. Invite somebody on Alice’s phone.';
    box.replaceChildren(p);
    return;
  }
  box.replaceChildren(...mails.map((m) => {
    const card = document.createElement('article');
    card.className = 'card mail';
    const h = document.createElement('h2');
    h.textContent = m.subject;
    const dl = document.createElement('dl');
    row(dl, 'From', m.from);
    row(dl, 'To', m.to);
    row(dl, 'At', new Date(m.time).toLocaleTimeString());
    card.append(h, dl, body(m.text));
    return card;
  }));
}

// again refreshes after a while, one at a time.
async function again() {
  try { await refresh(); } catch { /* the demo has stopped, or starts anew */ }
  setTimeout(again, 500);
}
again();
