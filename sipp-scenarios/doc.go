// Package scenarios holds SIPp scenarios and the tests that run them against the product by
// way of a real Kamailio (deploy/kamailio). Nothing of the other side is our code here.
// README.md says what each scenario does and how to run one by hand.
package scenarios
