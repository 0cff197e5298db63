package msrp

// Asleep reports whether the leg's connection waits without a goroutine.
func (l *AnchorLeg) Asleep() bool { return sleeping(l.connection()) }

// Asleep reports whether the session's connection waits without a goroutine.
func (s *Session) Asleep() bool {
	s.mu.Lock()
	c := s.conn
	s.mu.Unlock()
	return sleeping(c)
}

func sleeping(c *conn) bool {
	if c == nil {
		return false
	}
	return c.nap.Asleep()
}
