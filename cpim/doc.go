// Package cpim reads and writes what travels inside of messages: CPIM (RFC 3862), IMDN (RFC
// 5438), is-composing (RFC 3994) and the documents of file transfer over HTTP (RCC.07).
//
// It owns formats and their limits. It knows nothing of sessions, guests or storage, fetches nothing, and
// imports the standard library only. All readers are safe for bytes of strangers.
//
//	clause                     what                                                        where
//	RFC 3862 §2, §3.4, §4      headers, namespaces whatever their prefix is                Parse, Message.Bytes
//	RFC 3862 §2.3.1            escapes, so that nothing breaks out of its line             Parse, Message.Bytes
//	RFC 3862 §3.5, §4.7        unknown headers are passed over, Require of one is an error Parse, ErrRequired
//	RFC 2045 §6                transfer encodings of the content, read                     Message.Decoded
//	RFC 5438 §6.1 - §6.3       namespace, Disposition-Notification, Message-ID             Message
//	RFC 5438 §7.2, §11.1       a notification; extensions of it are passed over            Notification, ParseIMDN
//	RFC 5438 §8.3              several in one message, read                                Message.Notifications
//	RFC 3994 §3.2, §3.3        states, and how long one holds                              Composing
//	RCC.07 (unverified)        a file and its thumbnail on an HTTP server                  FileTransfer
//
// Not done: Original-To, IMDN-Record-Route and IMDN-Route (RFC 5438 §6.4 - §6.6) and what intermediaries do (§8) - the headers are in
// Message.Other, and nobody acts on them; S/MIME; the document by which an upload over HTTP is resumed.
package cpim
