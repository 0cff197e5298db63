// A core with a browser-like phone in it, of which everything goes by WebSocket: SIP (RFC 7118), both as the server that the gateway connects to
// and as a client of the gateway's own listener, and MSRP (RFC 7977). The WebSocket is that of npm's ws; nothing here is the gateway's.
// Commands come as JSON, one a line; answers and events leave so.
const https = require('https');
const crypto = require('crypto');
const WebSocket = require('ws');

const config = JSON.parse(process.argv.at(-1)); // uri, cert, key
const name = `${crypto.randomBytes(6).toString('hex')}.invalid`; // RFC 7118 Appendix B.1
const token = () => crypto.randomBytes(8).toString('hex');
const tell = (event, more = {}) => process.stdout.write(JSON.stringify({ event, ...more }) + '\n');
const wrong = (text) => tell('violation', { text });

// SIP ------------------------------------------------------------------------------------------------------------------------

let edge; // our connection to the gateway's listener
let answered = {}; // what waits for responses, by branch
let call; // { id, ours, theirs, remote, routes, cseq, ws, sdp, setup }
const manner = {};

function parseSIP(data) {
  const text = data.toString();
  const at = text.indexOf('\r\n\r\n');
  if (at < 0) return wrong(`no SIP message: ${text.slice(0, 80)}`);
  const [first, ...lines] = text.slice(0, at).split('\r\n');
  const fields = lines.map((l) => [l.slice(0, l.indexOf(':')).toLowerCase(), l.slice(l.indexOf(':') + 1).trim()]);
  const all = (n) => fields.filter(([k]) => k === n).map(([, v]) => v);
  const m = { first, fields, all, get: (n) => all(n)[0] || '', body: text.slice(at + 4) };
  m.method = first.startsWith('SIP/2.0 ') ? '' : first.split(' ')[0];
  m.status = m.method ? 0 : +first.split(' ')[1];
  m.branch = /;branch=([^;,\s]+)/.exec(m.get('via'))?.[1];
  m.cseq = m.get('cseq').split(' ');
  return m;
}

const tagOf = (v) => /;tag=([^;>\s]+)/.exec(v)?.[1] || '';
const uriOf = (v) => /<([^>]+)>/.exec(v)?.[1] || v;
const contact = () => `<sip:a@${name};transport=ws>`;

function respond(ws, req, status, more = [], body = '') {
  const to = req.get('to') + (tagOf(req.get('to')) ? '' : `;tag=${req.tag ||= token()}`);
  const lines = [`SIP/2.0 ${status}`, ...req.all('via').map((v) => `Via: ${v}`), `From: ${req.get('from')}`, `To: ${to}`,
    `Call-ID: ${req.get('call-id')}`, `CSeq: ${req.get('cseq')}`, ...more, `Content-Length: ${Buffer.byteLength(body)}`];
  ws.send(lines.join('\r\n') + '\r\n\r\n' + body);
  return to;
}

function request(ws, method, uri, from, to, id, cseq, more = [], body = '') {
  const branch = `z9hG4bK${token()}`;
  const lines = [`${method} ${uri} SIP/2.0`, `Via: SIP/2.0/WSS ${name};branch=${branch};rport`, 'Max-Forwards: 70', `From: ${from}`, `To: ${to}`,
    `Call-ID: ${id}`, `CSeq: ${cseq} ${method}`, ...more, `Content-Length: ${Buffer.byteLength(body)}`];
  ws.send(lines.join('\r\n') + '\r\n\r\n' + body);
  return method === 'ACK' ? null : new Promise((resolve) => { answered[branch] = resolve; });
}

const sdpType = 'Content-Type: application/sdp';

function takeSIP(ws, data) {
  if (data.toString() === '\r\n') return tell('pong');
  if (data.toString() === '\r\n\r\n') return ws.send('\r\n');
  const m = parseSIP(data);
  if (!m) return;
  if (!m.method) {
    if (m.status >= 200 && answered[m.branch]) {
      answered[m.branch](m);
      delete answered[m.branch];
    }
    return;
  }
  if (!/^SIP\/2\.0\/WSS /.test(m.get('via'))) wrong(`${m.first}: Via ${m.get('via')} is not of WSS (RFC 7118 §5)`);
  const standing = call && call.id === m.get('call-id');
  switch (m.method) {
    case 'REGISTER':
      tell('register', { contact: m.get('contact') });
      return respond(ws, m, '200 OK', [`Contact: ${uriOf(m.get('contact')) === '*' ? '' : `<${uriOf(m.get('contact'))}>;expires=${/expires=0/.test(m.get('contact')) || m.get('expires') === '0' ? 0 : 3600}`}`]);
    case 'OPTIONS':
      return respond(ws, m, '200 OK', [`Contact: ${contact()};+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session"`, 'Accept: application/sdp']);
    case 'INVITE':
      return standing ? reinvited(ws, m) : invited(ws, m);
    case 'ACK':
      return tell('ack');
    case 'BYE':
      respond(ws, m, standing ? '200 OK' : '481 Call Does Not Exist');
      if (standing) hangUp('bye');
      return;
    default:
      respond(ws, m, '200 OK');
  }
}

function invited(ws, m) {
  const offer = parseSDP(m.body);
  tell('invite', { sdp: m.body });
  if (!/;ws$/.test(offer.path)) return respond(ws, m, '488 Not Acceptable Here'); // a browser can connect to nothing else
  call = { id: m.get('call-id'), theirs: m.get('from'), remote: uriOf(m.get('contact')), cseq: 1, ws, version: 1 };
  const answer = describe();
  call.ours = respond(ws, m, '200 OK', [`Record-Route: <sips:127.0.0.1:${server.address().port};transport=ws;lr>`, `Contact: ${contact()}`, sdpType], answer);
  connect(offer);
}

function reinvited(ws, m) {
  const offer = parseSDP(m.body);
  tell('reinvite', { sdp: m.body });
  call.version++;
  respond(ws, m, '200 OK', [`Contact: ${contact()}`, sdpType], describe());
  connect(offer);
}

function hangUp(why) {
  if (call?.msrp) call.msrp.close();
  call = null;
  tell(why);
}

// MSRP -----------------------------------------------------------------------------------------------------------------------

function describe() {
  call.path = `msrps://${name}:2855/${token()};ws`;
  return ['v=0', `o=- ${parseInt(call.id.slice(0, 6), 36) || 7} ${call.version} IN IP4 ${name}`, 's=-', `c=IN IP4 ${manner.address || name}`, 't=0 0', `m=message ${manner.address ? 50000 : 2855} TCP/TLS/MSRP *`,
    'a=accept-types:message/cpim', 'a=accept-wrapped-types:text/plain message/imdn+xml', 'a=setup:active', `a=path:${call.path}`, 'a=sendrecv', ''].join('\r\n');
}

function parseSDP(body) {
  const line = (p) => body.split(/\r\n/).find((l) => l.startsWith(p))?.slice(p.length) || '';
  const s = { m: line('m='), c: line('c='), path: line('a=path:'), setup: line('a=setup:'), print: line('a=fingerprint:') };
  if (/;ws$/.test(s.path) && !/^message \d+ TCP\/TLS\/MSRP \*$/.test(s.m)) wrong(`m=${s.m} for ${s.path} (RFC 7977 §5.2.2)`);
  if (/;ws$/.test(s.path) && s.setup === 'active') wrong('a browser is to be connected to');
  return s;
}

// connect opens the WebSocket that a description is about, and binds with an empty SEND (RFC 4975 §5.4).
function connect(media) {
  const [, host] = /^msrps:\/\/([^/]+)\//.exec(media.path);
  const now = call;
  if (now.msrp) now.msrp.close();
  // The certificate is that of a=fingerprint; a browser would ask its authorities.
  const ws = now.msrp = new WebSocket(`wss://${host}/`, 'msrp', { rejectUnauthorized: false, origin: manner.origin || config.origin });
  now.to = media.path;
  now.sent = {};
  ws.on('upgrade', (res) => {
    const print = res.socket.getPeerCertificate().fingerprint256;
    if (`SHA-256 ${print}` !== media.print) wrong(`the certificate is ${print}, not that of ${media.print}`);
  });
  ws.on('open', async () => {
    if (ws.protocol !== 'msrp') wrong(`the subprotocol is ${ws.protocol}`);
    const status = await send('');
    tell('bound', { status, path: now.path });
  });
  ws.on('message', (data) => takeMSRP(ws, data.toString()));
  ws.on('error', (e) => tell('msrperror', { text: String(e) }));
  ws.on('close', (code) => tell('msrpclosed', { code }));
}

const msrpLine = (tid, what) => `MSRP ${tid} ${what}\r\nTo-Path: ${call.to}\r\nFrom-Path: ${call.path}\r\n`;

function send(body, id = token()) {
  const tid = token();
  const size = Buffer.byteLength(body);
  call.msrp.send(msrpLine(tid, 'SEND') + `Message-ID: ${id}\r\nByte-Range: 1-${size}/${size}\r\n` + (body ? `Content-Type: message/cpim\r\n\r\n${body}\r\n` : '') + `-------${tid}$\r\n`);
  return new Promise((resolve) => { call.sent[tid] = resolve; });
}

const arrived = {};

function takeMSRP(ws, frame) {
  const head = /^MSRP (\S+) (\S+)/.exec(frame);
  if (!head) return wrong(`no MSRP: ${frame.slice(0, 60)}`);
  const [, tid, what] = head;
  const end = frame.indexOf(`\r\n-------${tid}`);
  if (end < 0 || frame.length !== end + 9 + tid.length + 3) return wrong(`a frame is not one chunk (RFC 7977 §5.1): ${frame.length} octets`);
  if (!call || ws !== call.msrp) return;
  if (!/\r\nTo-Path: (\S+)\r\n/.exec(frame)?.[1].includes(name)) wrong('To-Path is not ours');
  if (what !== 'SEND') {
    call.sent[tid]?.(+what || 0);
    return;
  }
  const id = /\r\nMessage-ID: (\S+)/.exec(frame)[1];
  const body = frame.indexOf('\r\n\r\n');
  if (manner.cut && body >= 0 && body < end) {
    manner.cut = false;
    ws.terminate(); // in the midst of a message: it has no answer
    return tell('cut', { id });
  }
  const flag = frame[end + 9 + tid.length];
  if (body >= 0 && body < end) arrived[id] = (arrived[id] || '') + frame.slice(body + 4, end);
  ws.send(msrpLine(tid, '200 OK') + `-------${tid}$\r\n`);
  if (flag === '$' && arrived[id] !== undefined) {
    const parts = arrived[id].split('\r\n\r\n');
    tell('message', { id, type: /Content-Type: ?(\S+)/i.exec(parts[1])?.[1] || '', text: parts.slice(2).join('\r\n\r\n') });
    delete arrived[id];
  }
}

// Commands -------------------------------------------------------------------------------------------------------------------

const commands = {
  // dial opens the connection to the gateway's own listener.
  dial: ({ address }) => new Promise((resolve) => {
    const ws = edge = new WebSocket(`wss://${address}/`, 'sip', { ca: config.cert, origin: manner.origin || config.origin });
    ws.on('open', () => resolve({ text: ws.protocol }));
    ws.on('message', (data) => takeSIP(ws, data));
    ws.on('error', (e) => resolve({ text: String(e) }));
    ws.on('close', () => tell('edgeclosed'));
  }),
  // call makes a call to a guest and returns once MSRP may begin.
  call: async ({ to, routes = [] }) => {
    call = { id: token(), ours: `<${config.uri}>;tag=${token()}`, cseq: 1, ws: edge, version: 1 };
    const res = await request(edge, 'INVITE', to, call.ours, `<${to}>`, call.id, 1, [...routes.map((r) => `Route: <${r}>`), `Contact: ${contact()}`, `P-Asserted-Identity: <${config.uri}>`, `Conversation-ID: ${token()}`, `Contribution-ID: ${token()}`,
      'Accept-Contact: *;+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session"', sdpType], describe());
    if (res.status !== 200) {
      ack(res);
      call = null;
      return { status: res.status };
    }
    call.theirs = res.get('to');
    call.remote = uriOf(res.get('contact'));
    ack(res);
    connect(parseSDP(res.body));
    return { status: 200, text: res.body, contact: call.remote };
  },
  // again moves the call to another path by re-INVITE.
  again: async () => {
    call.version++;
    const res = await within('INVITE', [`Contact: ${contact()}`, sdpType], describe());
    if (res.status === 200) {
      request(call.ws, 'ACK', call.remote, call.ours, call.theirs, call.id, call.cseq);
      connect(parseSDP(res.body));
    }
    return { status: res.status, text: res.body };
  },
  say: async ({ text, id }) => ({ status: await send(`From: <${config.uri}>\r\nTo: <sip:anonymous@anonymous.invalid>\r\nDateTime: ${new Date().toISOString()}\r\n\r\nContent-Type: text/plain;charset=UTF-8\r\n\r\n${text}`, id) }),
  bye: async () => {
    const res = await within('BYE');
    call.msrp.close();
    call = null;
    return { status: res.status };
  },
  // ping is the keep-alive of RFC 5626 §4.4.1; the answer is an event.
  ping: async () => {
    edge.send('\r\n\r\n');
    return {};
  },
  // drop ends a connection without a word.
  drop: async ({ text }) => {
    (text === 'sip' ? edge : call.msrp).terminate();
    return {};
  },
  // moved has the call's requests go over the present connection to the gateway.
  moved: async () => {
    call.ws = edge;
    return {};
  },
  behave: async (c) => Object.assign(manner, c.manner) && {},
};

function ack(res) {
  request(edge, 'ACK', res.status === 200 ? call.remote : uriOf(res.get('to')), call.ours, res.get('to'), call.id, 1);
}

function within(method, more, body) {
  return request(call.ws, method, call.remote, call.ours, call.theirs, call.id, ++call.cseq, more, body);
}

const server = https.createServer({ cert: config.cert, key: config.key });
new WebSocket.Server({ server, handleProtocols: (offered) => (offered.includes('sip') ? 'sip' : false) }).on('connection', (ws) => {
  if (ws.protocol !== 'sip') wrong('the gateway does not offer the subprotocol sip (RFC 7118 §4.1)');
  ws.on('message', (data) => takeSIP(ws, data));
  ws.on('error', () => {});
});
server.listen(0, '127.0.0.1', () => tell('listening', { port: server.address().port }));

require('readline').createInterface({ input: process.stdin }).on('line', async (line) => {
  const c = JSON.parse(line);
  try {
    tell('done', { serial: c.serial, ...(await commands[c.do](c)) });
  } catch (e) {
    tell('done', { serial: c.serial, error: String(e.stack) });
  }
}).on('close', () => process.exit(0));
