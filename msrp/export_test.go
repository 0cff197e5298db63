package msrp

// WithTransactionIDs makes the session take its transaction ids from f.
func (s *Session) WithTransactionIDs(f func() string) { s.newID = f }
