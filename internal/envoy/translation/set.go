package translation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/envoyproxy/gateway/proto/extension"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// ID names a resource of a proxy.
type ID struct {
	Type xds.Type
	Name string
}

// Compare orders by type, then name.
func (i ID) Compare(o ID) int {
	return cmp.Or(cmp.Compare(i.Type, o.Type), strings.Compare(i.Name, o.Name))
}

// set are resources. One that is in it is never changed.
type set map[ID]*xds.Resource

// sorted are the names of the resources, in order.
func (s set) sorted() []ID {
	out := make([]ID, 0, len(s))
	for id := range s {
		out = append(out, id)
	}
	slices.SortFunc(out, ID.Compare)
	return out
}

// of are those that some type selects.
func (s set) of(selected func(xds.Type) bool) set {
	out := make(set, len(s))
	for id, r := range s {
		if selected(id.Type) {
			out[id] = r
		}
	}
	return out
}

// same reports whether the two are the same for Envoy, or both are not there.
func same(a, b *xds.Resource) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Hash == b.Hash
}

// Field numbers of PostTranslateModifyRequest, which is put together from bytes that are there already.
var requestFields = map[xds.Type]protowire.Number{xds.Cluster: 2, xds.Secret: 3, xds.Listener: 4, xds.Routes: 5}

const (
	fieldContext        protowire.Number = 1 // PostTranslateModifyRequest.post_translate_context
	fieldContextObjects protowire.Number = 1 // PostTranslateExtensionContext.extension_resources
	fieldObjectBytes    protowire.Number = 1 // ExtensionResource.unstructured_bytes
)

// request is the question about resources, in the order of their types and names. The objects are policies.
func request(resources set, objects []model.Extension) []byte {
	var context []byte
	for _, e := range objects {
		object := protowire.AppendTag(nil, fieldObjectBytes, protowire.BytesType)
		object = protowire.AppendString(object, e.JSON)
		context = protowire.AppendTag(context, fieldContextObjects, protowire.BytesType)
		context = protowire.AppendBytes(context, object)
	}
	size := len(context) + protowire.SizeBytes(0)
	for _, r := range resources {
		size += length(r) + 2*protowire.SizeBytes(0) + protowire.SizeVarint(uint64(length(r))) //nolint:gosec // a length
	}
	out := make([]byte, 0, size)
	out = protowire.AppendTag(out, fieldContext, protowire.BytesType)
	out = protowire.AppendBytes(out, context)
	for _, id := range resources.sorted() {
		r := resources[id]
		out = protowire.AppendTag(out, requestFields[id.Type], protowire.BytesType)
		out = protowire.AppendVarint(out, uint64(length(r))) //nolint:gosec // a length
		out = append(out, r.Body...)
		for p := range r.Parts.All() {
			out = append(out, p.Body...)
		}
	}
	return out
}

// length is the size of a resource in bytes.
func length(r *xds.Resource) int {
	n := len(r.Body)
	for p := range r.Parts.All() {
		n += len(p.Body)
	}
	return n
}

// Answer is what a server has answered, resource by resource.
type Answer struct {
	made set
	// bad are the resources that cannot be used, and why.
	bad map[ID]string
	// Failed is why there is no answer, empty if there is one.
	Failed string
}

// Read takes an answer apart. It does nothing that the lock of whoever keeps the proxies is needed for.
func Read(answer model.Answer) *Answer {
	out := &Answer{made: set{}, bad: map[ID]string{}, Failed: answer.Error}
	var a pb.PostTranslateModifyResponse
	if out.Failed != "" {
		return out
	}
	if err := proto.Unmarshal(answer.Data, &a); err != nil {
		out.Failed = err.Error()
		return out
	}
	readAll(out, xds.Cluster, a.GetClusters())
	readAll(out, xds.Secret, a.GetSecrets())
	readAll(out, xds.Listener, a.GetListeners())
	readAll(out, xds.Routes, a.GetRoutes())
	return out
}

func readAll[M interface {
	proto.Message
	GetName() string
}](out *Answer, typ xds.Type, list []M) {
	for _, m := range list {
		id := ID{typ, m.GetName()}
		r, err := envoy.Made(typ, m)
		_, twice := out.made[id]
		switch {
		case err != nil:
			out.bad[id] = err.Error()
		case twice:
			out.bad[id] = "there are two of this name"
		default:
			out.made[id] = r
			continue
		}
		delete(out.made, id)
	}
}

// adopt has what a server has left alone stay what it was, and what it has changed belong to whom it belonged.
func (a *Answer) adopt(asked set) {
	for id, r := range a.made {
		before := asked[id]
		switch {
		case before == nil:
		case before.Hash == r.Hash:
			a.made[id] = before
		default:
			r.Owners = before.Owners
			if id.Type == xds.Listener {
				r.Needs = before.Needs
			}
			adoptParts(before, r)
		}
	}
}

func adoptParts(before, after *xds.Resource) {
	for p := range after.Parts.All() {
		if old := before.Part(p.Name); old != nil {
			p.Owners = old.Owners
			p.Needs = slices.Concat(p.Needs, old.Needs)
			slices.Sort(p.Needs)
			p.Needs = slices.Compact(p.Needs)
		}
	}
	if after.Parts.Len() > 0 {
		after.Needs = before.Needs
	}
}

// changedParts are the names of the virtual hosts in which two versions of a route table differ.
func changedParts(before, after *xds.Resource) []string {
	if before == nil || after == nil {
		return nil
	}
	return xds.Changed(before.Parts, after.Parts)
}

// noun names a resource in messages.
func (i ID) noun() string {
	if i.Name == "" {
		return fmt.Sprintf("a %s without a name", i.Type)
	}
	return fmt.Sprintf("the %s %q", i.Type, i.Name)
}
