package kube

import (
	"encoding/json"
	"log/slog"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
)

// reshaping decodes objects that API servers with CRDs of an older release have in the shape of that: the Go types,
// which are those of the newer one, would lose its fields.
type reshaping struct {
	runtime.NegotiatedSerializer
	group string
	teller
}

// DecoderToVersion returns the decoder of lists, of objects, and of those in the events of a watch.
func (r reshaping) DecoderToVersion(d runtime.Decoder, gv runtime.GroupVersioner) runtime.Decoder {
	return reshaper{r.NegotiatedSerializer.DecoderToVersion(d, gv), r.group, r.teller}
}

// reshaper reshapes JSON before it is decoded, if it has to be.
type reshaper struct {
	runtime.Decoder
	group string
	teller
}

// Decode implements [runtime.Decoder].
func (r reshaper) Decode(
	data []byte, defaults *schema.GroupVersionKind, into runtime.Object,
) (runtime.Object, *schema.GroupVersionKind, error) {
	if resource.MayBeOlder(data) {
		data = r.reshape(data)
	}
	return r.Decoder.Decode(data, defaults, into) //nolint:wrapcheck // the client looks at what kind of error it is
}

// reshape reshapes an object, or those items of a list that may have to be. What cannot be read stays as it is, for the
// decoder to say so.
func (r reshaper) reshape(data []byte) []byte {
	var list map[string]json.RawMessage
	var items []json.RawMessage
	if json.Unmarshal(data, &list) != nil || json.Unmarshal(list["items"], &items) != nil {
		return r.object(data)
	}
	for i, item := range items {
		if resource.MayBeOlder(item) {
			items[i] = r.object(item)
		}
	}
	text, err := json.Marshal(items)
	if err != nil {
		return data
	}
	list["items"] = text
	if text, err = json.Marshal(list); err != nil {
		return data
	}
	return text
}

func (r reshaper) object(data []byte) []byte {
	var u unstructured.Unstructured
	if utiljson.Unmarshal(data, &u.Object) != nil {
		return data
	}
	notices := resource.Reshape(u.Object)
	text, err := json.Marshal(u.Object)
	if len(notices) == 0 || err != nil {
		return data
	}
	name := model.Name{Namespace: u.GetNamespace(), Name: u.GetName()}
	for _, notice := range notices {
		r.tell(model.Ref{Group: r.group, Kind: u.GetKind(), Name: name}, notice)
	}
	return text
}

// teller tells a notice once: an object arrives again with each change of its status.
type teller struct {
	log  *slog.Logger
	told *sync.Map
}

func (t teller) tell(object model.Ref, notice string) {
	n := resource.Notice{Object: object, Message: notice}
	if _, told := t.told.LoadOrStore(n, true); !told {
		t.log.Warn("An object has the shape of an older release: have it in the newer one when you replace the CRDs",
			"object", object.String(), "notice", notice)
	}
}
