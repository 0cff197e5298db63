//go:build !race

package httpapi

// largeFile is eight times what the heap may grow by.
const largeFile = 256 << 20
