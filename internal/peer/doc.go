// Package peer lets the replicas of a control plane know what the Envoys of all of them have said.
//
// An Envoy is connected to one replica, and only that one hears its ACKs and refusals; statuses are written by another
// one. So each replica tells the others what it holds true, in [Statement]s: it offers them on a [Hub], and a [Mesh]
// listens to the hubs of the others. What they said is kept in a [Book].
//
// Versions of the configuration are counted by each process for itself, so statements are about content: the hash of
// what a listener, a resource or a route is. Replicas that have read the same objects have the same content, and a
// statement about content that a replica does not have (yet, or any more) means nothing to it. That makes it harmless
// that statements are late, repeated, or handed on.
package peer

import (
	"encoding/json"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/sluice-gateway/sluice/internal/model"
)

// Kind is the kind of a statement. A replica ignores the kinds that it does not know: they are of another version.
type Kind string

// The kinds of statements.
const (
	// Envoys says that Envoys of the proxy are connected to the replica.
	Envoys Kind = "envoys"
	// Listener says how far a listener of the proxy is, in State. Name is that of the listener.
	Listener Kind = "listener"
	// Resource says that Envoy refused a resource of the proxy, with its words in Message. Type and Name are those of
	// the resource.
	Resource Kind = "resource"
	// Route says that Envoy refused a route, with its words in Message and what stays live in Good and Kept. Name is that
	// of the route.
	Route Kind = "route"
	// Policy says that Envoy refused a policy, with its words in Message and what stays in force in Kept. Name is that of
	// the policy.
	Policy Kind = "policy"
)

// State is how far a listener is.
type State string

// The states of a listener. Any other one is taken for Pending.
const (
	// Pending is a listener that some Envoy of the replica does not have yet.
	Pending State = "pending"
	// Live is a listener that all Envoys of the replica have.
	Live State = "live"
	// Programmed is a listener that all Envoys of all replicas had at some time since its content changed.
	Programmed State = "programmed"
)

// Subject is what a statement is about. Fields that its kind does not name are empty.
type Subject struct {
	Kind  Kind            `json:"kind"`
	Proxy model.ProxyName `json:"proxy,omitempty"`
	Type  string          `json:"type,omitempty"`
	Name  string          `json:"name,omitempty"`
}

// Statement is something that a replica holds true.
type Statement struct {
	Subject
	// Content is the hash of what the subject is at the replica; 0 is no content at all.
	Content uint64 `json:"content,omitempty"`
	State   State  `json:"state,omitempty"`
	Good    uint64 `json:"good,omitempty"`
	// Kept is the object that Good came from, in JSON, for a replica that was never given it; empty if it is not known.
	Kept    string `json:"kept,omitempty"`
	Message string `json:"message,omitempty"`
	// Withdrawn takes back what was said about the subject.
	Withdrawn bool `json:"withdrawn,omitempty"`
}

// Content returns the hash of a value of the model, equal in all processes, 0 if it has none.
func Content(v any) uint64 {
	data, err := json.Marshal(v)
	if err != nil {
		return 0
	}
	return max(1, xxhash.Sum64(data))
}

// maxMessage bounds Envoy's words, in bytes.
const maxMessage = 4 << 10

// bounded returns the statement with its message cut off where it is too long to be sent.
func (s Statement) bounded() Statement {
	if len(s.Message) > maxMessage {
		s.Message = strings.ToValidUTF8(s.Message[:maxMessage], "")
	}
	return s
}
