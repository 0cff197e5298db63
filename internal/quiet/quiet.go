// Package quiet makes system calls that Go's runtime needn't know of, since none of them can wait: they read and write sockets that
// don't block. Each call that the runtime does know of wakes its monitor, which had gone to sleep while there was nothing to do, and then
// looks around every 20 us: at some hundred messages a second that costs as much as what is done with them.
package quiet
