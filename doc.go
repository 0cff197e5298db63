// Package latchkey is the vocabulary of the gateway: the words that every room
// shares, the rules of life of the things they name, and the kinds of error.
//
// Latchkey lets a registered RCS user (the inviter, A) talk with a person who has
// no RCS account (the guest, B). It implements the method of patent CN102420819A
// (US 9,059,958). This package imports the standard library only, does no I/O and
// is imported by all other rooms.
package latchkey
