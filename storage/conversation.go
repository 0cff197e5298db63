package storage

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"latchkey"
)

const messageColumns = `id, relation, account, inviter, direction, content_type, text, state, reason, client_id, remote_id, want_delivered, want_displayed, time`

func scanMessage(row scanner) (latchkey.Message, error) {
	var m latchkey.Message
	var at int64
	err := row.Scan(&m.ID, &m.Relation, &m.Account, &m.Inviter, &m.Direction, &m.ContentType, (*string)(&m.Text), &m.State, &m.Reason,
		&m.ClientID, &m.RemoteID, &m.WantDelivered, &m.WantDisplayed, &at)
	m.Time = time.UnixMicro(at).UTC()
	return m, err
}

func insertMessage(tx *sql.Tx, m latchkey.Message) error {
	_, err := tx.Exec(`INSERT INTO message (`+messageColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		m.ID, m.Relation, m.Account, m.Inviter, m.Direction, m.ContentType, m.Text.Reveal(), m.State, m.Reason,
		m.ClientID, m.RemoteID, m.WantDelivered, m.WantDisplayed, m.Time.UnixMicro())
	return err
}

// liveRelation fails with KindNoRelation unless the relation is live: while it is ending nothing new starts.
func liveRelation(tx *sql.Tx, id latchkey.RelationID) error {
	var one int
	err := tx.QueryRow(`SELECT 1 FROM relation WHERE id = ? AND state = 'live'`, id).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return latchkey.Errorf(latchkey.KindNoRelation, "The invitation has ended.")
	}
	return err
}

// AddToInviter stores a guest's message once for each ClientID.
func (db *DB) AddToInviter(ctx context.Context, m latchkey.Message) (stored latchkey.Message, repeated bool, err error) {
	err = db.Write(ctx, func(tx *sql.Tx) error {
		stored, repeated = m, false
		if err := liveRelation(tx, m.Relation); err != nil {
			return err
		}
		if m.ClientID != "" {
			was, err := scanMessage(tx.QueryRow(`SELECT `+messageColumns+` FROM message WHERE account = ? AND client_id = ? AND client_id <> ''`, m.Account, m.ClientID))
			switch {
			case errors.Is(err, sql.ErrNoRows):
			case err != nil:
				return err
			case was.Text != m.Text || was.Inviter != m.Inviter:
				return latchkey.Errorf(latchkey.KindConflict, "id: %q was used for another message", m.ClientID)
			default:
				stored, repeated = was, true
				return nil
			}
		}
		return insertMessage(tx, m)
	})
	return stored, repeated, err
}

// AddToGuest stores an inviter's message and its event once for each RemoteID.
func (db *DB) AddToGuest(ctx context.Context, m latchkey.Message, e latchkey.Event) (repeated bool, err error) {
	err = db.Write(ctx, func(tx *sql.Tx) error {
		repeated = false
		if err := liveRelation(tx, m.Relation); err != nil {
			return err
		}
		if m.RemoteID != "" {
			var one int
			err := tx.QueryRow(`SELECT 1 FROM message WHERE relation = ? AND remote_id = ? AND remote_id <> '' AND direction = 'in'`, m.Relation, m.RemoteID).Scan(&one)
			if err == nil {
				repeated = true
				return nil
			}
			if !errors.Is(err, sql.ErrNoRows) {
				return err
			}
		}
		if err := insertMessage(tx, m); err != nil {
			return err
		}
		_, err := addEvent(tx, e)
		return err
	})
	return repeated, err
}

// Move takes a guest's message in a relation forward and adds the delivery event; one that may not go there stays.
func (db *DB) Move(ctx context.Context, relation latchkey.RelationID, id latchkey.MessageID, to latchkey.MessageState, reason string) (moved bool, err error) {
	err = db.Write(ctx, func(tx *sql.Tx) error {
		moved = false
		m, err := scanMessage(tx.QueryRow(`SELECT `+messageColumns+` FROM message WHERE id = ? AND relation = ? AND direction = 'out'`, id, relation))
		if errors.Is(err, sql.ErrNoRows) {
			return latchkey.Errorf(latchkey.KindNotFound, "No such message.")
		}
		if err != nil {
			return err
		}
		if !m.State.Precedes(to) {
			return nil
		}
		if _, err := tx.Exec(`UPDATE message SET state = ?, reason = ? WHERE id = ?`, to, reason, id); err != nil {
			return err
		}
		moved = true
		_, err = addEvent(tx, latchkey.Event{
			Type: latchkey.DeliveryEvent, Time: time.Now().UTC(), Account: m.Account,
			Message: &latchkey.EventMessage{ID: id, State: to, Reason: reason},
		})
		return err
	})
	return moved, err
}

// Waiting lists what a relation has to send to its inviter, oldest first.
func (db *DB) Waiting(ctx context.Context, id latchkey.RelationID) ([]latchkey.Message, []latchkey.Receipt, error) {
	messages, err := gather(ctx, db.read, scanMessage,
		`SELECT `+messageColumns+` FROM message WHERE relation = ? AND direction = 'out' AND state = 'accepted' ORDER BY seq LIMIT 100`, id)
	if err != nil {
		return nil, nil, fmt.Errorf("waiting messages: %w", err)
	}
	receipts, err := gather(ctx, db.read, func(row scanner) (latchkey.Receipt, error) {
		var r latchkey.Receipt
		var at int64
		err := row.Scan(&r.Message, &r.RemoteID, &r.Displayed, &at)
		r.Time = time.UnixMicro(at).UTC()
		return r, err
	}, `SELECT message, remote_id, displayed, time FROM receipt WHERE relation = ? AND sent = 0 ORDER BY rowid LIMIT 100`, id)
	if err != nil {
		return nil, nil, fmt.Errorf("waiting receipts: %w", err)
	}
	return messages, receipts, nil
}

// Busy lists the live relations that have something to send.
func (db *DB) Busy(ctx context.Context) ([]latchkey.Relation, error) {
	return gather(ctx, db.read, scanPlainRelation, `SELECT `+relationColumns+` FROM relation WHERE state = 'live' AND id IN (
		SELECT relation FROM message WHERE direction = 'out' AND state = 'accepted' UNION SELECT relation FROM file WHERE direction = 'out' AND state = 'accepted'
		UNION SELECT relation FROM receipt WHERE sent = 0)`)
}

// ReceiptSent ticks off a receipt.
func (db *DB) ReceiptSent(ctx context.Context, r latchkey.Receipt) error {
	return db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`UPDATE receipt SET sent = 1 WHERE message = ? AND displayed = ?`, r.Message, r.Displayed)
		return err
	})
}

// oweReceipts writes the receipts for an account's messages, or files, that were asked for and aren't there yet, and moves the messages.
func oweReceipts(tx *sql.Tx, table string, displayed bool, where string, args ...any) ([]latchkey.RelationID, error) {
	want, to, from := "want_delivered", latchkey.MessageDelivered, "('accepted')"
	if displayed {
		want, to, from = "want_displayed", latchkey.MessageDisplayed, "('accepted', 'delivered')"
	}
	which := ` FROM ` + table + ` WHERE direction = 'in' AND state <> 'displayed' AND state IN ` + from + ` AND ` + where
	owed, err := gather(context.Background(), tx, func(row scanner) (id latchkey.RelationID, err error) { return id, row.Scan(&id) },
		`SELECT DISTINCT relation`+which+` AND `+want+` = 1`, args...)
	if err != nil {
		return nil, err
	}
	if _, err := tx.Exec(`INSERT OR IGNORE INTO receipt (message, displayed, relation, remote_id, time)
		SELECT id, ?, relation, remote_id, ?`+which+` AND `+want+` = 1 ORDER BY seq`, append([]any{displayed, time.Now().UnixMicro()}, args...)...); err != nil {
		return nil, err
	}
	_, err = tx.Exec(`UPDATE `+table+` SET state = ? WHERE seq IN (SELECT seq`+which+`)`, append([]any{to}, args...)...)
	return owed, err
}

// keptEvents is how many acknowledged events stay, for a second device of the guest that is behind (F25).
const keptEvents = 1000

// Acknowledge notes how far the guest's client has come; what it has of the inviters' messages is delivered.
func (db *DB) Acknowledge(ctx context.Context, account latchkey.AccountID, upTo int64) ([]latchkey.Relation, error) {
	// Most acknowledgements say nothing new; those cost no write.
	var acked int64
	err := db.read.QueryRowContext(ctx, `SELECT acked FROM stream WHERE account = ?`, account).Scan(&acked)
	if err != nil || acked >= upTo {
		if errors.Is(err, sql.ErrNoRows) {
			err = nil
		}
		return nil, err
	}
	var owed []latchkey.RelationID
	err = db.Write(ctx, func(tx *sql.Tx) error {
		owed = nil
		var last int64
		if err := tx.QueryRow(`SELECT acked, last FROM stream WHERE account = ?`, account).Scan(&acked, &last); err != nil {
			return err
		}
		upTo := min(upTo, last)
		if upTo <= acked {
			return nil
		}
		for _, table := range []string{"message", "file"} {
			more, err := oweReceipts(tx, table, false, `id IN (SELECT message FROM event WHERE account = ? AND number > ? AND number <= ? AND message <> '')`, account, acked, upTo)
			if err != nil {
				return err
			}
			owed = append(owed, more...)
		}
		if _, err := tx.Exec(`UPDATE stream SET acked = ? WHERE account = ?`, upTo, account); err != nil {
			return err
		}
		_, err := tx.Exec(`DELETE FROM event WHERE account = ? AND number <= ?`, account, upTo-keptEvents)
		return err
	})
	if err != nil || len(owed) == 0 {
		return nil, err
	}
	slices.Sort(owed)
	return db.talks(ctx, slices.Compact(owed))
}

func (db *DB) talks(ctx context.Context, ids []latchkey.RelationID) ([]latchkey.Relation, error) {
	var all []latchkey.Relation
	for _, id := range ids {
		one, err := gather(ctx, db.read, scanPlainRelation, `SELECT `+relationColumns+` FROM relation WHERE id = ? AND state = 'live'`, id)
		if err != nil {
			return nil, err
		}
		all = append(all, one...)
	}
	return all, nil
}

// Displayed notes that the guest has read a message and those before it of the same inviter, or has opened a file.
func (db *DB) Displayed(ctx context.Context, account latchkey.AccountID, id latchkey.MessageID) (latchkey.Relation, error) {
	var owed []latchkey.RelationID
	err := db.Write(ctx, func(tx *sql.Tx) error {
		owed = nil
		var seq int64
		var relation latchkey.RelationID
		err := tx.QueryRow(`SELECT seq, relation FROM message WHERE id = ? AND account = ? AND direction = 'in'`, id, account).Scan(&seq, &relation)
		table, which, until := "message", `relation = ? AND seq <= ?`, any(seq)
		if errors.Is(err, sql.ErrNoRows) {
			table, which, until = "file", `relation = ? AND id = ?`, id
			err = tx.QueryRow(`SELECT relation FROM file WHERE id = ? AND account = ? AND direction = 'in'`, id, account).Scan(&relation)
		}
		if errors.Is(err, sql.ErrNoRows) {
			return latchkey.Errorf(latchkey.KindNotFound, "No such message.")
		}
		if err != nil {
			return err
		}
		// What is displayed was delivered: both are owed, delivered first.
		delivered, err := oweReceipts(tx, table, false, which, relation, until)
		if err != nil {
			return err
		}
		owed, err = oweReceipts(tx, table, true, which, relation, until)
		owed = append(owed, delivered...)
		return err
	})
	if err != nil || len(owed) == 0 {
		return latchkey.Relation{}, err
	}
	all, err := db.talks(ctx, owed[:1])
	if err != nil || len(all) == 0 {
		return latchkey.Relation{}, err
	}
	return all[0], nil
}

// addEvent gives an event its number in its account's stream.
func addEvent(tx *sql.Tx, e latchkey.Event) (int64, error) {
	if err := tx.QueryRow(`INSERT INTO stream (account, last) VALUES (?, 1)
		ON CONFLICT (account) DO UPDATE SET last = last + 1 RETURNING last`, e.Account).Scan(&e.ID); err != nil {
		return 0, err
	}
	body, err := json.Marshal(e)
	if err != nil {
		return 0, err
	}
	var message latchkey.MessageID
	switch {
	case e.Type == latchkey.MessageEvent && e.Message != nil:
		message = e.Message.ID
	case e.Type == latchkey.FileEvent && e.File != nil:
		message = latchkey.MessageID(e.File.ID)
	}
	_, err = tx.Exec(`INSERT INTO event (account, number, message, lapses, body) VALUES (?, ?, ?, ?, ?)`, e.Account, e.ID, message, micros(e.Lapses), string(body))
	return e.ID, err
}

// freshStream forgets the events of an account's life before this one. Numbers go on.
func freshStream(tx *sql.Tx, account latchkey.AccountID) error {
	if _, err := tx.Exec(`DELETE FROM event WHERE account = $1 AND EXISTS (SELECT 1 FROM stream WHERE account = $1 AND over > 0)`, account); err != nil {
		return err
	}
	_, err := tx.Exec(`UPDATE stream SET over = 0, acked = last WHERE account = $1 AND over > 0`, account)
	return err
}

// endStream notes that an account without a relation has nobody who may read its events. They stay for a
// moment, so that a stream that is attached hears the last of them.
func endStream(tx *sql.Tx, account latchkey.AccountID) error {
	_, err := tx.Exec(`UPDATE stream SET over = $2 WHERE account = $1 AND NOT EXISTS (SELECT 1 FROM relation WHERE relation.account = $1)`, account, micros(time.Now()))
	return err
}

// streamGrace is how long endStream's events stay.
const streamGrace = time.Hour

// purgeEvents deletes what has lapsed and what nobody may read any more.
func purgeEvents(tx *sql.Tx, now time.Time) error {
	if _, err := tx.Exec(`DELETE FROM event WHERE lapses > 0 AND lapses <= $1`, micros(now)); err != nil {
		return err
	}
	before := micros(now.Add(-streamGrace))
	if _, err := tx.Exec(`DELETE FROM event WHERE account IN (SELECT account FROM stream WHERE over > 0 AND over <= $1)`, before); err != nil {
		return err
	}
	// The number of the last event is all that stays; it is not to be given again.
	_, err := tx.Exec(`UPDATE stream SET over = 0, acked = last WHERE over > 0 AND over <= $1`, before)
	return err
}

// AddEvent numbers and stores an event.
func (db *DB) AddEvent(ctx context.Context, e latchkey.Event) (number int64, err error) {
	err = db.Write(ctx, func(tx *sql.Tx) error {
		number, err = addEvent(tx, e)
		return err
	})
	return number, err
}

// Events lists events after a number that haven't lapsed, oldest first.
func (db *DB) Events(ctx context.Context, account latchkey.AccountID, after int64, limit int) ([]latchkey.Event, error) {
	return gather(ctx, db.read, func(row scanner) (latchkey.Event, error) {
		var body string
		e := latchkey.Event{Account: account}
		if err := row.Scan(&body); err != nil {
			return e, err
		}
		return e, json.Unmarshal([]byte(body), &e)
	}, `SELECT body FROM event WHERE account = ? AND number > ? AND (lapses = 0 OR lapses > ?) ORDER BY number LIMIT ?`, account, after, micros(time.Now()), limit)
}

// History lists the newest messages of a conversation before a message, oldest first.
func (db *DB) History(ctx context.Context, account latchkey.AccountID, with latchkey.InviterID, before latchkey.MessageID, limit int) ([]latchkey.Message, error) {
	query := `SELECT ` + messageColumns + ` FROM message WHERE account = ? AND inviter = ?`
	args := []any{account, with}
	if before != "" {
		query += ` AND seq < (SELECT seq FROM message WHERE id = ? AND account = ?)`
		args = append(args, before, account)
	}
	all, err := gather(ctx, db.read, scanMessage, query+` ORDER BY seq DESC LIMIT ?`, append(args, limit)...)
	slices.Reverse(all)
	return all, err
}

// ConversationID gives a live relation's Conversation-ID, made on first use; KindNoRelation where it isn't live.
func (db *DB) ConversationID(ctx context.Context, id latchkey.RelationID) (name string, err error) {
	err = db.read.QueryRowContext(ctx, `SELECT coalesce(conversation.name, '') FROM relation LEFT JOIN conversation ON conversation.relation = relation.id
		WHERE relation.id = ? AND relation.state = 'live'`, id).Scan(&name)
	if err != nil && !errors.Is(err, sql.ErrNoRows) || name != "" {
		return name, err
	}
	err = db.Write(ctx, func(tx *sql.Tx) error {
		if err := liveRelation(tx, id); err != nil {
			return err
		}
		return tx.QueryRow(`INSERT INTO conversation (relation, name) VALUES (?, ?)
			ON CONFLICT (relation) DO UPDATE SET name = name RETURNING name`, id, latchkey.NewToken()).Scan(&name)
	})
	return name, err
}

// EndConversation deletes a relation's messages and receipts and tells the guest's stream, once. A relation
// whose row is gone has been told.
func (db *DB) EndConversation(ctx context.Context, rel latchkey.Relation, e latchkey.Event) error {
	return db.Write(ctx, func(tx *sql.Tx) error {
		const talk, files = `FROM message WHERE account = ? AND inviter = ? AND relation = ?`, `FROM file WHERE account = ? AND inviter = ? AND relation = ?`
		for _, q := range []string{
			`DELETE FROM event WHERE message <> '' AND message IN (SELECT id ` + talk + `)`,
			`DELETE FROM receipt WHERE message IN (SELECT id ` + talk + `)`,
			`DELETE ` + talk,
			// The rows of files stay until room files has erased the bytes.
			`DELETE FROM event WHERE message <> '' AND message IN (SELECT id ` + files + `)`,
			`DELETE FROM receipt WHERE message IN (SELECT id ` + files + `)`,
		} {
			if _, err := tx.Exec(q, rel.Account, rel.Inviter, rel.ID); err != nil {
				return err
			}
		}
		// The core may be down and the ending be tried for hours: the row remembers that the guest knows.
		res, err := tx.Exec(`INSERT INTO conversation (relation, name, ended) SELECT id, '', 1 FROM relation WHERE id = ?
			ON CONFLICT (relation) DO UPDATE SET ended = 1 WHERE ended = 0`, rel.ID)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err
		}
		_, err = addEvent(tx, e)
		return err
	})
}

// ConversationsOver reports whether an account has no live relation, and the guest's stream was told of each that is ending.
func (db *DB) ConversationsOver(ctx context.Context, account latchkey.AccountID) (over bool, err error) {
	err = db.read.QueryRowContext(ctx, `SELECT NOT EXISTS (SELECT 1 FROM relation WHERE account = $1 AND (state = 'live' OR
		state = 'ending' AND NOT EXISTS (SELECT 1 FROM conversation WHERE conversation.relation = relation.id AND ended = 1)))`, account).Scan(&over)
	return over, err
}
