package storage

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"strings"
)

// mostKept bounds the statements that one connection keeps. There are fewer texts than that.
const mostKept = 256

// openKeeping is sql.Open for SQLite, with connections that keep their statements: to parse one and to plan it takes longer than most of
// them run.
func openKeeping(dsn string) (*sql.DB, error) {
	plain, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	defer plain.Close() // it has opened nothing yet
	return sql.OpenDB(keeping{plain.Driver(), dsn}), nil
}

// keeping is a driver.Connector.
type keeping struct {
	driver driver.Driver
	dsn    string
}

func (k keeping) Driver() driver.Driver { return k.driver }

func (k keeping) Connect(context.Context) (driver.Conn, error) {
	c, err := k.driver.Open(k.dsn)
	if err != nil {
		return nil, err
	}
	able, ok := c.(ableConn)
	if !ok { // a driver that is another one by now
		return c, nil
	}
	return &keeper{ableConn: able, kept: map[string]*kept{}}, nil
}

// ableConn is what the driver's connections can do beside the least.
type ableConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// keeper is one connection, which database/sql lets one goroutine use at a time.
type keeper struct {
	ableConn
	kept map[string]*kept
}

// kept is a statement that is prepared.
type kept struct {
	driver.Stmt
	busy bool // its rows are being read
}

// ExecContext runs a statement that may be kept.
func (c *keeper) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	s := c.take(ctx, query)
	if s == nil {
		return c.ableConn.ExecContext(ctx, query, args)
	}
	return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

// QueryContext runs a statement that may be kept. It is free for others again when its rows are closed.
func (c *keeper) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	s := c.take(ctx, query)
	if s == nil {
		return c.ableConn.QueryContext(ctx, query, args)
	}
	rows, err := s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
	if err != nil {
		return nil, err
	}
	s.busy = true
	return &keptRows{rows, s}, nil
}

type keptRows struct {
	driver.Rows
	of *kept
}

func (r *keptRows) Close() error {
	r.of.busy = false
	return r.Rows.Close()
}

// take gives the statement of a text; nil: it is not one to keep, or its rows are being read, or it can't be prepared, which
// the plain call will say.
func (c *keeper) take(ctx context.Context, query string) *kept {
	s := c.kept[query]
	switch {
	case s != nil && s.busy:
		return nil
	case s != nil:
		return s
	case !keepable(query):
		return nil
	}
	stmt, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil
	}
	_, runs := stmt.(driver.StmtExecContext)
	if _, asks := stmt.(driver.StmtQueryContext); !runs || !asks {
		_ = stmt.Close()
		return nil
	}
	if len(c.kept) >= mostKept {
		c.forget()
	}
	s = &kept{Stmt: stmt}
	c.kept[query] = s
	return s
}

// keepable reports whether a text is one statement that is likely to come again.
func keepable(query string) bool {
	words := strings.Fields(query)
	if len(words) == 0 {
		return false
	}
	switch strings.ToUpper(words[0]) {
	case "SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "SAVEPOINT", "RELEASE", "ROLLBACK":
		return !strings.Contains(query, ";")
	}
	return false
}

// forget makes room.
func (c *keeper) forget() {
	for query, s := range c.kept {
		if !s.busy {
			delete(c.kept, query)
			_ = s.Stmt.Close()
			return
		}
	}
}

// Close closes the connection and what it keeps.
func (c *keeper) Close() error {
	for _, s := range c.kept {
		_ = s.Stmt.Close()
	}
	clear(c.kept)
	return c.ableConn.Close()
}
