package gateway

import "latchkey/notify"

// The channels of all servers tell by what their absence is known again after a restart.
var (
	_ notify.Absence = (*mailChannel)(nil)
	_ notify.Absence = (*smsChannel)(nil)
	_ notify.Absence = (*mmsChannel)(nil)
)
