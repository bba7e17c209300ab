// Package keeper runs a program as a worker that can die or be replaced, while what its keeper holds goes on.
//
// The keeper ([Start]) and its worker ([Join]) are processes of one program, which may be of two versions after an
// upgrade. All that they say to each other is on two pipes, and no version may change what is said:
//
//   - The worker writes lines to file descriptor 3: "serving" when what the keeper holds can reach it, and
//     "ready VERSION" when it does what it is there for. Other lines are for who runs the keeper, which may not know
//     them.
//   - Its standard input is open as long as it is needed. At its end the worker ends. Before that it may get SIGTERM,
//     upon which it does nothing new but goes on to answer.
//
// The variable SLUICE_WORKER in its environment is the folder that both use, and makes a process a worker.
package keeper
