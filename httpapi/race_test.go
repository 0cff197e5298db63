//go:build race

package httpapi

// largeFile is small under the race detector, which makes hashing slow.
const largeFile = 64 << 20
