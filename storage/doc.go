// Package storage keeps what must survive a crash: guests, relations, secrets, the
// outbox, messages and registrations, as rows of an SQLite file.
//
// It owns the schema (migrations/, one file for each room, applied in any order), the
// transactions and the files on disk. It decides nothing: the rules about who may do what
// stand in the rooms that declare the stores which DB satisfies. Every committed row is on
// the disk before Write returns (WAL, synchronous=FULL); many writers share one fsync.
// Start with Open and DB.Write.
package storage
