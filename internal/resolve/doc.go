// Package resolve turns what users wrote into the model: it follows references and checks that they are granted,
// decides which listeners share a port, attaches routes to listeners, and finds the endpoints of backends. It also
// says what every object's status is, as far as it can be known before Envoy has answered.
//
// Everything in it is a derived table of the incremental engine, so a change costs what it touches. Two habits keep it
// that way. A function reads a narrow view of an object (a Service's ports, a Namespace's labels, a Gateway's
// controller) rather than the object, so that edits of the rest stop at the view. And it asks for exactly the key that
// it means (one grant, one listener, one hostname of a port), so that an addition elsewhere reaches nobody.
//
// The package is pure: no I/O, no clock, no logging. A user's mistake is an entry in a [status.Report]; what it guards
// fails closed, with a [model.Fault] or a listener that takes no traffic.
package resolve
