package file

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/source"
)

const (
	// settle is how long an object has to be gone before it is deleted.
	settle = 150 * time.Millisecond
	// builtinFile is what says that an object is the source's own.
	builtinFile = "(built in)"
	// ClassName is the GatewayClass that exists without being in a file.
	ClassName = "sluice"
	// ControllerName is the controller of that class.
	ControllerName = "sluice.dev/gateway-controller"
)

// registry knows which files claim which objects, and what was delivered of them.
type registry struct {
	claims map[model.Ref][]*entry
	// contested are the objects with several claims.
	contested map[model.Ref]struct{}
	// touched are the objects whose claims changed since the last batch.
	touched map[model.Ref]struct{}
	// leaving are the objects without a claim, and since when.
	leaving   map[model.Ref]time.Time
	delivered map[model.Ref]delivery
	// fallback are the objects that exist if no file has them.
	fallback map[model.Ref]resource.Object
}

// delivery is what was last delivered of an object.
type delivery struct {
	// decoded is the object as it was decoded, object as it was delivered, which is not always the same instance.
	decoded, object resource.Object
	fallback        bool
}

func newRegistry() *registry {
	return &registry{
		claims: map[model.Ref][]*entry{}, contested: map[model.Ref]struct{}{}, touched: map[model.Ref]struct{}{},
		leaving: map[model.Ref]time.Time{}, delivered: map[model.Ref]delivery{}, fallback: map[model.Ref]resource.Object{},
	}
}

// builtin adds the GatewayClass that Gateways in files can name without there being one.
func (r *registry) builtin() {
	ref := model.Ref{Group: model.GroupGateway, Kind: model.KindGatewayClass, Name: model.Name{Name: ClassName}}
	r.fallback[ref] = &gwv1.GatewayClass{
		TypeMeta:   metav1.TypeMeta{APIVersion: gwv1.GroupVersion.String(), Kind: model.KindGatewayClass},
		ObjectMeta: metav1.ObjectMeta{Name: ClassName},
		Spec:       gwv1.GatewayClassSpec{ControllerName: ControllerName},
	}
	r.touched[ref] = struct{}{}
}

func (r *registry) add(e *entry) {
	all := append(r.claims[e.Ref], e)
	r.claims[e.Ref] = all
	r.touched[e.Ref] = struct{}{}
	if len(all) > 1 {
		r.contested[e.Ref] = struct{}{}
	}
}

func (r *registry) remove(e *entry) {
	all := slices.DeleteFunc(r.claims[e.Ref], func(have *entry) bool { return have == e })
	r.claims[e.Ref] = all
	r.touched[e.Ref] = struct{}{}
	if len(all) < 2 {
		delete(r.contested, e.Ref)
	}
	if len(all) == 0 {
		delete(r.claims, e.Ref)
	}
}

// ordered returns the claims of an object: by path and place in the file, what may no longer be there last.
func (r *registry) ordered(ref model.Ref) []*entry {
	all := r.claims[ref]
	if len(all) > 1 {
		slices.SortFunc(all, func(a, b *entry) int {
			return cmp.Or(cmp.Compare(btoi(a.doc.ghost), btoi(b.doc.ghost)), strings.Compare(a.doc.path, b.doc.path),
				cmp.Compare(a.doc.index, b.doc.index), cmp.Compare(a.order, b.order))
		})
	}
	return all
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// winner returns the claim that is in force: the first with an object that is or was good, else the first of which
// anything is left.
func winner(claims []*entry) *entry {
	for _, of := range []func(*entry) resource.Object{(*entry).value, (*entry).inForce} {
		for _, e := range claims {
			if of(e) != nil {
				return e
			}
		}
	}
	return nil
}

// changes brings what was delivered up to date with the claims. seen is when the changes were noticed.
func (r *registry) changes(now, seen time.Time) source.Batch {
	b := source.Batch{Noticed: seen}
	for ref := range r.contested {
		r.touched[ref] = struct{}{}
	}
	for _, ref := range slices.SortedFunc(maps.Keys(r.touched), model.Ref.Compare) {
		r.settle(ref, seen, &b)
	}
	clear(r.touched)
	var expired []model.Ref
	for ref, since := range r.leaving {
		if now.Sub(since) >= settle {
			expired = append(expired, ref)
		}
	}
	slices.SortFunc(expired, model.Ref.Compare)
	for _, ref := range expired {
		if since := r.leaving[ref]; since.Before(b.Noticed) {
			b.Noticed = since
		}
		delete(r.leaving, ref)
		if obj := r.fallback[ref]; obj != nil {
			r.deliver(ref, obj, source.Object{Ref: ref, File: builtinFile}, &b)
			continue
		}
		delete(r.delivered, ref)
		b.Delete = append(b.Delete, ref)
	}
	return b
}

// settle decides what becomes of one object whose claims changed.
func (r *registry) settle(ref model.Ref, seen time.Time, b *source.Batch) {
	claims := r.ordered(ref)
	before, had := r.delivered[ref]
	first := winner(claims)
	good := had && !before.fallback && !resource.Unreadable(before.object)
	switch {
	case first != nil && (first.value() != nil || !good):
		delete(r.leaving, ref)
		at := source.Object{Ref: ref, File: first.doc.path, Line: first.doc.line + first.Line - 1}
		r.deliver(ref, first.inForce(), at, b)
	case len(claims) > 0 && had && !before.fallback:
		// Somewhere is a bad version of it: the good one stays.
		delete(r.leaving, ref)
	case had && !before.fallback:
		if _, ok := r.leaving[ref]; !ok {
			r.leaving[ref] = seen
		}
	case !had && r.fallback[ref] != nil:
		r.deliver(ref, r.fallback[ref], source.Object{Ref: ref, File: builtinFile}, b)
	}
}

// deliver adds an object to the batch if it differs from what was delivered before.
func (r *registry) deliver(ref model.Ref, obj resource.Object, at source.Object, b *source.Batch) {
	before, had := r.delivered[ref]
	if had && before.decoded == obj {
		return
	}
	now := delivery{decoded: obj, object: obj, fallback: at.File == builtinFile}
	if obj.GetGeneration() != 0 {
		// It was delivered before, and is not to be changed.
		now.object = obj.DeepCopyObject().(resource.Object)
	}
	generation := int64(1)
	if had {
		generation = before.object.GetGeneration()
		if !sameContent(before.object, obj) {
			generation++
		}
	}
	now.object.SetGeneration(generation)
	if had && reflect.DeepEqual(before.object, now.object) {
		now.object = before.object
		r.delivered[ref] = now
		return
	}
	r.delivered[ref] = now
	at.Object = now.object
	b.Set = append(b.Set, at)
}

// sameContent reports whether two objects of a kind differ in their metadata at most.
func sameContent(a, b resource.Object) bool {
	va, vb := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range va.NumField() {
		switch va.Type().Field(i).Name {
		case "TypeMeta", "ObjectMeta", "Status":
			continue
		}
		if !reflect.DeepEqual(va.Field(i).Interface(), vb.Field(i).Interface()) {
			return false
		}
	}
	return true
}

// next returns when the first of the objects that are leaving is to be deleted; the zero time if there is none.
func (r *registry) next() time.Time {
	var first time.Time
	for _, since := range r.leaving {
		if at := since.Add(settle); first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}
