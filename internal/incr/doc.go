// Package incr is the incremental engine: tables of values derived from other tables by pure functions.
//
// An [Input] holds what the outside world says. A [Table] derives one value for each of its keys with a function that
// reads other tables through a [Reader]; the Reader records every read, misses included. An [Index] groups the keys of
// a table by something in their values, so that no function ever has to scan. [Engine.Commit] applies the staged
// changes of all inputs as one transaction: it marks what read a changed thing, recomputes that in table order (in
// parallel within one table), and stops wherever a recomputed value equals the old one.
//
// Laws, which the tests hold the package to:
//
//   - after any sequence of changes every table equals what computing it from nothing would give;
//   - the order in which keys arrive changes nothing that can be observed;
//   - work is proportional to what a change touches, not to the size of the tables.
//
// A function may read only collections created before its own table; anything else is a cycle and is refused as a
// [Fault], as is a panic: the key keeps the value (in an Index, the groups) it had unless [Table.OnFault] says
// otherwise, and all other keys are computed as if nothing had happened. It is tried again when something that it read
// changes.
//
// All collections of an engine are created before its first commit.
package incr
