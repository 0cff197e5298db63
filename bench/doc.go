// Package bench measures the gateway beside something that does the same work without it, in the same run, and prints
// both. It asserts nothing: machines are shared and noisy. See README.md for what each one compares.
package bench
