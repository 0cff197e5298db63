// Package guest owns temporary accounts and invitation relations from the invitation to the
// farewell, and every rule about who may do what (patent: account, relation, judge, delete units).
//
// Each flow with an outside effect writes down what it is about to do, acts, and ticks it off;
// Resume finishes or undoes what a crash left in between. Desk.Authorize is the only gate
// between two parties, and Desk.Farewell the only way in which a relation ends. The package
// speaks no protocol and keeps no rows: both are behind its ports. Start with Desk.
package guest
