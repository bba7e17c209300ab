// Package docs runs the documentation. Every page of docs/task is executed against a real Envoy: its YAML is written to
// a folder that a sluice serves, its commands are run, and what they print is compared with what the page says. Other
// tests check that the generated reference is fresh, that links lead somewhere, that the messages which are explained
// are said, and that the tests exist which the table of features names.
//
// How a page is written is told in docs/task/README.md.
package docs
