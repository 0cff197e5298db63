package storage_test

import (
	"latchkey/conversation"
	"latchkey/files"
	"latchkey/guest"
	"latchkey/notify"
	"latchkey/push"
	"latchkey/registrar"
	"latchkey/storage"
)

// One DB is the store of every room.
var (
	_ guest.Store        = (*storage.DB)(nil)
	_ conversation.Store = (*storage.DB)(nil)
	_ registrar.Store    = (*storage.DB)(nil)
	_ files.Rows         = (*storage.DB)(nil)
	_ files.Rows         = storage.Deposits{}
	_ push.Store         = (*storage.DB)(nil)
	_ notify.Store       = (*storage.DB)(nil)
	_ notify.Hastener    = (*storage.DB)(nil)
)
