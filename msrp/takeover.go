package msrp

// TakeOver binds the leg to the connection of a leg of another Anchor, whose URI it has: the peer on that connection, whose path hasn't
// changed, notices nothing while the peer across renegotiates (RFC 4975 §5.4). The other Anchor is to be closed then. What
// was on its way between its legs gets no response. False: that leg has no connection, or has lost it.
func (l *AnchorLeg) TakeOver(from *AnchorLeg) bool {
	if from.opt.Local.SessionID != l.opt.Local.SessionID {
		return false
	}
	from.mu.Lock()
	c := from.conn
	if c == nil || from.given || !c.holds(from) {
		from.mu.Unlock()
		return false
	}
	from.given = true
	from.mu.Unlock()
	if !l.bind(c) {
		c.detach(from)
		return false
	}
	return true
}

// holds reports whether a target is one of the connection's.
func (c *conn) holds(t target) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.closed && c.targets.at(t.attached()) == t
}

// Stands reports whether the leg has its connection, be it that the other leg is lost.
func (l *AnchorLeg) Stands() bool {
	c := l.connection()
	return c != nil && c.holds(l)
}
