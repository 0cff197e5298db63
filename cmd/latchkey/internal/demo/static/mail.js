// The mailbox: shows each mail, SMS and MMS, and turns the links of their text into links. A mail's HTML stands in a frame that can do
// nothing but open links.
let shown = -1;
const inFrame = new URLSearchParams(location.search).has('beside');
const doors = await (await fetch('/doors')).json();

// here is where a link leads: beside Alice's phone it opens in this frame, by the demo's way through.
const here = (link) => (inFrame && link.startsWith(doors.gateway) ? doors.beside + link.slice(doors.gateway.length) : link);

function body(text) {
  const pre = document.createElement('pre');
  let rest = text;
  for (const link of text.match(/https?:\/\/[^\s<>"]+/g) || []) {
    const at = rest.indexOf(link);
    pre.append(rest.slice(0, at));
    const a = document.createElement('a');
    a.href = here(link);
    a.textContent = link;
    a.className = 'invitation-link';
    if (!inFrame) a.target = '_blank';
    a.rel = 'noreferrer';
    pre.append(a);
    rest = rest.slice(at + link.length);
  }
  pre.append(rest);
  return pre;
}

// policy keeps a mail from fetching anything: that would tell its sender that it was opened.
const policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

// page shows a mail's HTML as a careful mail program does: without scripts, nothing is fetched, and links open tabs.
function page(html) {
  const frame = document.createElement('iframe');
  frame.title = 'The mail as its reader sees it';
  frame.className = 'html';
  frame.sandbox = 'allow-popups allow-popups-to-escape-sandbox';
  frame.srcdoc = `<!doctype html><meta http-equiv="Content-Security-Policy" content="${policy}"><base target="_blank">${html}`;
  return frame;
}

function row(dl, term, text) {
  const dt = document.createElement('dt');
  const dd = document.createElement('dd');
  dt.textContent = term;
  dd.textContent = text;
  dl.append(dt, dd);
}

function card(m) {
  const card = document.createElement('article');
  card.className = `card mail ${m.kind}`;
  const h = document.createElement('h2');
  h.textContent = m.subject;
  const dl = document.createElement('dl');
  row(dl, 'From', m.from);
  row(dl, 'To', m.to);
  row(dl, 'At', new Date(m.time).toLocaleTimeString());
  if (m.parts > 1) row(dl, 'Parts', `${m.parts}, joined by the handset`);
  card.append(h, dl);
  if (m.picture) {
    const img = document.createElement('img');
    img.src = m.picture;
    img.alt = 'The picture of the MMS';
    card.append(img);
  }
  if (!m.html) {
    card.append(body(m.text));
    return card;
  }
  card.append(page(m.html));
  const plain = document.createElement('details');
  const summary = document.createElement('summary');
  summary.textContent = 'The same as plain text';
  plain.open = true;
  plain.append(summary, body(m.text));
  card.append(plain);
  return card;
}

async function refresh() {
  const mails = await (await fetch('/mail/list')).json();
  if (mails.length === shown) return;
  shown = mails.length;
  const box = document.getElementById('mails');
  if (!mails.length) {
    const p = document.createElement('p');
    p.className = 'empty';
    p.textContent = 'Nothing yet. Invite somebody on Alice’s phone.';
    box.replaceChildren(p);
    return;
  }
  box.replaceChildren(...mails.map(card));
}

// again refreshes after a while, one at a time.
async function again() {
  try { await refresh(); } catch { /* the demo has stopped, or starts anew */ }
  setTimeout(again, 500);
}
again();
