package xds

import (
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/encoding/protowire"
)

// entry is one resource as it is sent to one Envoy: the resource itself or, for Routes, a mix of it with older versions
// of the parts that cannot be sent yet, or ever.
type entry struct {
	name string
	// hash is the version on the wire: for Routes that of the mix, else the resource's.
	hash uint64
	// res is the version in the store that was current when the entry was made.
	res *Resource
	// body and parts are what is sent. whole says that they are exactly res.
	body  []byte
	parts Parts
	whole bool
	form  form
	// changed are the parts that are sent of a delta, gone the resource names of those that went.
	changed []*Part
	gone    []string
	// generation is in the versions of a shell and of its virtual hosts.
	generation generation
	// tail is the probe of a dry trial, else nil.
	tail []byte
	// tried are the names of the parts on trial.
	tried []string
	// version is the earliest Update that is not live before the entry is ACKed.
	version uint64
	shared  *assembly
}

// asIs is the entry for a resource exactly as it is.
func asIs(name string, r *Resource, version uint64) entry {
	return entry{name: name, hash: r.Hash, res: r, body: r.Body, parts: r.Parts, whole: true, version: version}
}

func (e *entry) size() int {
	if e.form == shell {
		return len(e.body) + len(shellField)
	}
	n := len(e.body) + len(e.tail)
	for p := range e.parts.All() {
		n += len(p.Body)
	}
	return n
}

// pieces calls f with what the value is put together from, in order.
func (e *entry) pieces(f func([]byte)) {
	f(e.body)
	if e.form == shell {
		f(shellField)
		return
	}
	for p := range e.parts.All() {
		f(p.Body)
	}
	f(e.tail)
}

// wireVersion is the version of the entry as Envoy is told it.
func (e *entry) wireVersion() string {
	if e.form == shell {
		return shellVersion + e.generation.String() + formatVersion(xxhash.Sum64(e.body))
	}
	return formatVersion(e.hash)
}

// assembly is the value of a big entry that several streams send: the first that needs it puts it together.
type assembly struct {
	hash uint64
	once sync.Once
	data []byte
}

func (a *assembly) get(e *entry) []byte {
	a.once.Do(func() {
		a.data = make([]byte, 0, e.size())
		e.pieces(func(b []byte) { a.data = append(a.data, b...) })
	})
	return a.data
}

// empty returns a resource of the type that has a name and nothing else: what Envoy is told when it waits for something
// that does not exist.
func empty(name string) *Resource {
	// The name is field 1 of RouteConfiguration and of ClusterLoadAssignment alike.
	body := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), name)
	return &Resource{Name: name, Hash: xxhash.Sum64(body), Body: body}
}

// flight is a response that is to be, or has been, sent and is not ACKed.
type flight struct {
	typ     Type
	nonce   string
	version uint64 // of the store when it was made
	// since is the oldest Update that is not live before the removals are ACKed.
	since   uint64
	entries []entry
	removed []string
	sent    time.Time
	bytes   int
	// trial says that the flight is a step of the trial of its only entry.
	trial bool
	// first says that it answers the first request of its type.
	first bool
	// repeated says that the endpoints of the flight's clusters were sent a second time.
	repeated bool
}

// url is the type URL of what the flight carries: virtual hosts go alone.
func (f *flight) url() string {
	if len(f.entries) == 1 && f.entries[0].form == delta {
		return hostsURL
	}
	return f.typ.URL()
}

// count is the number of resources in the flight, removals included.
func (f *flight) count() int {
	n := len(f.removed)
	for i := range f.entries {
		if e := &f.entries[i]; e.form == delta {
			n += len(e.changed) + len(e.gone)
		} else {
			n++
		}
	}
	return n
}
