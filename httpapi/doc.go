// Package httpapi is the HTTP facade for inviters and guests: JSON and XML in and out,
// problems, credentials, limits, and the guest's events by server-sent events, long poll and
// WebSocket (patent ¶119, R28). It turns requests into calls of its ports and their answers
// into bytes; it decides nothing about who may do what, keeps nothing that must
// survive a crash and never speaks SIP.
//
// Specifications that live here: RFC 9110 (negotiation, status codes), RFC 7617 (Basic),
// RFC 9457 (problems), RFC 6265 (cookie), WHATWG HTML §9.2 (server-sent events), RFC 6455
// (by coder/websocket).
//
// Choices that a client's author should know:
//
//   - XML has the names of the JSON; a list inside a thing is its element repeated
//     (`<interactions>im</interactions>`). A document that is a list is named as in JSON, and
//     each item is an element named after its kind: `<events><event>…</event><last>7</last></events>`.
//   - 401 carries `WWW-Authenticate: Basic` for programs. Requests of a browser (they have a
//     Sec-Fetch-Site, or the header Latchkey-Client that the page sends) get the
//     scheme `Latchkey` instead: RFC 9110 §11.6.1 wants a challenge, and for an
//     unknown scheme no browser opens its password dialog.
//   - Requests that are authenticated by the cookie must not come from another site
//     (Sec-Fetch-Site, Origin), and unsafe ones need the header Latchkey-Client with any value,
//     which no form and no cross-origin request without preflight can send (S5). Basic needs neither.
//   - Without a password, GET (as JSON or XML) and POST of the invitation link answer by the cookie of an
//     earlier login, and begin none. DELETE of it can be repeated for ten minutes with credentials that
//     are dead since, and gives the same answer.
//   - An inviter whom the network doesn't know is told as offline. Of one who is online, the answer to
//     `GET …/status/{uri}` also says by `chat` whether their client can chat.
//   - Reading events after n acknowledges all up to n. A client on an SSE stream
//     acknowledges by `GET …/events?after=n&wait=0` (or by its reconnect), one on a WebSocket
//     by the message {"ack":n}. A poll that doesn't say waits 30 s.
//   - Server-sent events have no `event:` field, so that one listener hears them all; a WebSocket message is one
//     event. The last event of a guest whose relations have all ended is `session`, without a number; then the stream ends.
//
// Start with New.
package httpapi
