// Reads calls of Web Push as a browser does: one JSON object a line in, one a line out. The decryption is that of npm's http_ece, the
// signature is checked by Node's own crypto; nothing here is the gateway's.
const crypto = require('crypto');
const ece = require('http_ece');

const b64 = (s) => Buffer.from(s, 'base64url');

// claims checks the signature of RFC 8292 and gives what was signed, and the key.
function claims(authorization) {
  const [, t, k] = /^vapid t=([^,\s]+), ?k=([^,\s]+)$/.exec(authorization);
  const [header, payload, signature] = t.split('.');
  const point = b64(k);
  const key = crypto.createPublicKey({ key: { kty: 'EC', crv: 'P-256', x: point.subarray(1, 33).toString('base64url'), y: point.subarray(33).toString('base64url') }, format: 'jwk' });
  if (JSON.parse(b64(header)).alg !== 'ES256') throw new Error(`signed by ${b64(header)}`);
  if (!crypto.verify('sha256', Buffer.from(`${header}.${payload}`), { key, dsaEncoding: 'ieee-p1363' }, b64(signature))) throw new Error('wrong signature');
  return { ...JSON.parse(b64(payload)), key: k };
}

for (const line of require('fs').readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
  const call = JSON.parse(line);
  try {
    const key = crypto.createECDH('prime256v1');
    key.setPrivateKey(b64(call.private));
    const word = ece.decrypt(Buffer.from(call.body, 'base64'), { version: 'aes128gcm', privateKey: key, authSecret: b64(call.auth) });
    console.log(JSON.stringify({ word: word.toString(), claims: claims(call.authorization) }));
  } catch (e) {
    console.log(JSON.stringify({ error: String(e) }));
  }
}
