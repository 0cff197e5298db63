package storage

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey"
)

// Durability is a setting of each connection; without it an acknowledged message is a hope.
func TestCommitsWaitForTheDisk(t *testing.T) {
	db := open(t)
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "secure_delete": "1"} {
		var got string
		if err := db.write.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s = %s, %v, want %s", pragma, got, err, want)
		}
	}
}

// What runs per message, poll or sweep reads no whole table. The queries are taken from the calls themselves.
func TestHotQueriesUseAnIndex(t *testing.T) {
	db := open(t)
	var mu sync.Mutex
	var seen []string
	recorded := func(pool *sql.DB, dsn string) *sql.DB {
		_ = pool.Close()
		p := sql.OpenDB(recorder{pool.Driver(), dsn, func(query string) {
			mu.Lock()
			defer mu.Unlock()
			if !slices.Contains(seen, query) {
				seen = append(seen, query)
			}
		}})
		p.SetMaxOpenConns(1)
		return p
	}
	db.write, db.read = recorded(db.write, dsn(db.path, time.Second, "_txlock=immediate")), recorded(db.read, dsn(db.path, time.Second))
	ctx := t.Context()
	g := latchkey.Guest{Account: "sip:b@x", Identifier: latchkey.Identifier{Kind: latchkey.Mail, Value: "b@x"}}
	r := latchkey.Relation{ID: "r", Account: g.Account, Inviter: "sip:a@x", Interactions: []latchkey.Interaction{latchkey.IM}, Expires: time.Now().Add(time.Hour)}
	second := r
	second.ID, second.Inviter = "r2", "sip:a2@x"
	m := latchkey.Message{ID: "m", Relation: r.ID, Account: g.Account, Inviter: r.Inviter, Direction: latchkey.ToInviter, State: latchkey.MessageAccepted, ClientID: "c", Time: time.Now()}
	in := m
	in.ID, in.Direction, in.RemoteID, in.WantDelivered, in.WantDisplayed, in.ClientID = "n", latchkey.ToGuest, "x", true, true, ""
	e := latchkey.Event{Type: latchkey.MessageEvent, Account: g.Account, Message: &latchkey.EventMessage{ID: in.ID}}
	f := latchkey.StoredFile{ID: "f", Relation: r.ID, Account: g.Account, Inviter: r.Inviter, Direction: latchkey.ToInviter, State: latchkey.FileReceiving, ClientID: "c", Key: "k", Size: 7}
	fin := f
	fin.ID, fin.Direction, fin.RemoteID, fin.WantDelivered, fin.WantDisplayed, fin.ClientID, fin.Key = "fi", latchkey.ToGuest, "x", true, true, "", ""
	up, deposit := db.Deposits(), latchkey.StoredFile{ID: "d", Inviter: r.Inviter, Direction: latchkey.Deposit, State: latchkey.FileReceiving, ClientID: "t", Key: "kd", Size: 7}
	for i, err := range []error{
		first3(db.Ask(ctx, g, r)), db.Settle(ctx, r, "salt", "hash", latchkey.Notice{ID: "o", Relation: r.ID, Channel: latchkey.ByMail, Link: "l"}),
		first3(db.Ask(ctx, g, second)), db.Settle(ctx, second, "salt", "hash", latchkey.Notice{ID: "o2", Relation: second.ID, Channel: latchkey.ByMail, Link: "l", Due: time.Now()}),
		last(db.Key(ctx, "k")), db.AddOptOut(ctx, "p", "h", time.Now()), last(db.OptedOutBy(ctx, "h")), last(db.OptedOut(ctx, "p")), db.RemoveOptOut(ctx, "p"),
		last(db.Spend(ctx, "s", r.Inviter, g.Identifier, time.Now(), time.Minute, latchkey.Quota{PerInviter: 1, InviterWindow: time.Hour, PerTarget: 1, TargetWindow: time.Hour, Total: 1, TotalWindow: time.Hour, CoolDown: time.Hour})), db.Refund(ctx, "s"),
		db.KeepSIPPassword(ctx, g.Account, "x"), last(db.SIPPassword(ctx, g.Account)),
		last(db.Guest(ctx, g.Account)), last(db.GuestBy(ctx, g.Identifier)), last(db.Relations(ctx, g.Account)), last(db.Invitations(ctx, r.Inviter)), last(db.Invitation(ctx, r.ID)),
		last4(db.Passwords(ctx, g.Account, time.Now())), db.AddLogin(ctx, g.Account, "h", time.Now(), time.Now().Add(time.Hour)), last(db.GuestByLogin(ctx, "h", time.Now())),
		last3(db.AddToInviter(ctx, m)), last(db.AddToGuest(ctx, in, e)), last(db.Move(ctx, r.ID, m.ID, latchkey.MessageSent, "")), last3(db.Waiting(ctx, r.ID)),
		last3(db.AddFile(ctx, f, 100)), last3(db.AddFile(ctx, fin, 100)), last(db.File(ctx, f.ID)), last(db.FileByKey(ctx, f.Key)), db.TouchFile(ctx, f.ID, 7, time.Now()),
		last(db.CompleteFile(ctx, f, 100)), last(db.CompleteFile(ctx, fin, 100)), db.SetPreview(ctx, f.ID, "image/png", []byte("p")), last3(db.Preview(ctx, f.ID)), last(db.WaitingFiles(ctx, r.ID)), last(db.Promised(ctx)),
		last(db.MoveFile(ctx, r.ID, f.ID, latchkey.FileSent, "")), last(db.FileHistory(ctx, g.Account, r.Inviter, "f", 10)), last(db.FilesOf(ctx, r.ID)), last(db.StaleFiles(ctx, time.Now(), time.Now(), 10)), last(db.Displayed(ctx, g.Account, "fi")), db.DropFiles(ctx, "fi"),
		last3(up.AddFile(ctx, deposit, 100)), last(up.File(ctx, deposit.ID)), last(up.FileByKey(ctx, deposit.Key)), last(up.Transfer(ctx, r.Inviter, deposit.ClientID)), up.TouchFile(ctx, deposit.ID, 7, time.Now()),
		last(up.CompleteFile(ctx, deposit, 100)), up.SetPreview(ctx, deposit.ID, "image/png", []byte("p")), last3(up.Preview(ctx, deposit.ID)), last(up.StaleFiles(ctx, time.Now(), time.Now(), 10)), last(up.MoveFile(ctx, "", deposit.ID, latchkey.FileFailed, "")),
		last(db.Acknowledge(ctx, g.Account, 1)), last(db.Displayed(ctx, g.Account, in.ID)), db.ReceiptSent(ctx, latchkey.Receipt{Message: in.ID}), last(db.Events(ctx, g.Account, 0, 10)),
		last(db.History(ctx, g.Account, r.Inviter, "m", 10)), last(db.ConversationID(ctx, r.ID)), last(db.Busy(ctx)),
		last(db.ClaimNotices(ctx, latchkey.ByMail, time.Now(), time.Now(), 10)), last(db.NextNotice(ctx, latchkey.ByMail)), db.RetryNotice(ctx, "o", time.Now(), ""), db.EndNotice(ctx, "o", latchkey.NotificationSent, ""),
		last(db.ClaimOutcomes(ctx, time.Now(), time.Now(), 10)), last(db.NextOutcome(ctx)), db.RetryOutcome(ctx, "x", time.Now()), db.EndOutcome(ctx, "x"), last3(db.OutcomesWaiting(ctx)), last(db.HastenOutcomes(ctx, r.Inviter, "+1", time.Now(), time.Now().Add(-time.Hour))), last(db.NoticesWait(ctx, latchkey.ByMail, "x")), db.HastenNotices(ctx, latchkey.ByMail, "x", time.Now(), time.Now(), 64), last3(db.NoticesWaiting(ctx, latchkey.ByMail)),
		db.AddSubmission(ctx, latchkey.Submission{Notice: "o", Part: 1, Parts: 1, Channel: latchkey.BySMS, IDs: []string{"1"}}), last(db.Submissions(ctx, "o")),
		last(db.AddReport(ctx, latchkey.Report{Channel: latchkey.BySMS, IDs: []string{"1"}, State: latchkey.NotificationDelivered})),
		last(db.AddReport(ctx, latchkey.Report{Channel: latchkey.BySMS, IDs: []string{"2"}, State: latchkey.NotificationDelivered})),
		db.AddSubmission(ctx, latchkey.Submission{Notice: "o", Part: 2, Parts: 2, Channel: latchkey.BySMS, IDs: []string{"2"}}),
		last(db.Expired(ctx, time.Now(), 10)), last(db.NextExpiry(ctx)), last(db.UnsettledAccounts(ctx)), last3(db.Unsettled(ctx, g.Account)),
		db.SaveSighting(ctx, latchkey.Sighting{Identity: r.Inviter}), last(db.Sighting(ctx, r.Inviter)), last(db.LeavingSightings(ctx)), last(db.LapsedSightings(ctx, time.Now(), 10)),
		last3(db.AddPush(ctx, latchkey.PushSubscription{ID: "p", Account: g.Account, Endpoint: "https://push.example/1"}, 5)), last(db.PushSubscriptions(ctx, g.Account, time.Now())), db.DropPush(ctx, g.Account, "p"),
		last(db.Unheard(ctx, e)), last(db.Unheard(ctx, latchkey.Event{File: &latchkey.EventFile{ID: f.ID}})),
		last(db.RelationsOf(ctx, r.Inviter, "+1")), last(db.ConversationsOver(ctx, g.Account)), db.PurgeSightings(ctx, time.Now()),
		last(db.BeginEnding(ctx, []latchkey.RelationID{r.ID}, latchkey.GuestLeft)), db.EndConversation(ctx, r, latchkey.Event{Account: g.Account}), db.End(ctx, g.Account, []latchkey.RelationID{r.ID}, true),
		db.Purge(ctx, time.Now(), time.Hour),
	} {
		if err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if len(seen) < 50 {
		t.Fatalf("%d queries were seen; the recording is broken", len(seen))
	}
	asked := len(seen)
	indexes := map[string]bool{} // the schema's own, and whether each holds but a part of its table
	rows, err := db.read.QueryContext(ctx, `SELECT name, instr(sql, ' WHERE ') > 0 FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL`)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var name string
		var part bool
		if err := rows.Scan(&name, &part); err != nil {
			t.Fatal(err)
		}
		indexes[name] = part
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	unused := maps.Clone(indexes)
	for _, query := range seen[:asked] {
		if !strings.Contains(query, "FROM") && !strings.Contains(query, "UPDATE") {
			continue
		}
		for _, step := range plan(t, db, query) {
			_, index, _ := strings.Cut(step, "INDEX ")
			index, _, _ = strings.Cut(index, " ")
			delete(unused, index)
			// To walk along an index that holds just what is looked for (WHERE sent = 0) is no scan.
			scan := strings.HasPrefix(step, "SCAN ") && !indexes[index] && step != "SCAN CONSTANT ROW"
			// Nor is it to read what the query itself has put together.
			scan = scan && !strings.Contains(query, " "+strings.TrimPrefix(step, "SCAN ")+" (inviter) AS")
			if scan || strings.Contains(step, "(rowid<?)") || strings.Contains(step, "(rowid>?)") {
				t.Errorf("%s\n\tin %s", step, query)
			}
		}
	}
	for name := range unused {
		t.Errorf("no query uses the index %s", name)
	}
}

func plan(t *testing.T, db *DB, query string) (steps []string) {
	t.Helper()
	rows, err := db.read.QueryContext(context.Background(), "EXPLAIN QUERY PLAN "+query, make([]any, strings.Count(query, "?")+parameters(query))...)
	if err != nil {
		t.Fatalf("%v in %s", err, query)
	}
	defer rows.Close()
	for rows.Next() {
		var a, b, c int
		var step string
		if err := rows.Scan(&a, &b, &c, &step); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, step)
	}
	return steps
}

// parameters is the highest $n of a query.
func parameters(query string) (n int) {
	for i := 1; i < 20; i++ {
		if strings.Contains(query, fmt.Sprintf("$%d", i)) {
			n = i
		}
	}
	return n
}

func last[T any](_ T, err error) error                  { return err }
func last3[A, B any](_ A, _ B, err error) error         { return err }
func last4[A, B, C any](_ A, _ B, _ C, err error) error { return err }
func first3[A, B any](_ A, _ B, err error) error        { return err }

// recorder is a connector whose connections tell what they are asked.
type recorder struct {
	driver driver.Driver
	dsn    string
	tell   func(query string)
}

func (r recorder) Driver() driver.Driver { return r.driver }

func (r recorder) Connect(context.Context) (driver.Conn, error) {
	c, err := r.driver.Open(r.dsn)
	return recording{c, r.tell}, err
}

type recording struct {
	driver.Conn
	tell func(query string)
}

func (c recording) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.tell(query)
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c recording) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.tell(query)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c recording) BeginTx(ctx context.Context, opt driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opt)
}
