package resolve

import (
	"cmp"
	"fmt"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// object returns the Secret or ConfigMap that an object refers to. If it cannot be used it has no data, and there are
// a reason of the condition ResolvedRefs and a message. What another namespace holds is said only to those who are
// granted it.
func (t *Tables) object(
	r *incr.Reader, from model.Ref, ref *ObjectReference,
) (object model.Object, reason, message string) {
	to := model.Ref{Group: ref.Group, Kind: cmp.Or(ref.Kind, model.KindSecret), Name: model.Name{
		Namespace: cmp.Or(ref.Namespace, from.Namespace), Name: ref.Name,
	}}
	object.Ref = to
	switch {
	case to.Group != model.GroupCore || to.Kind != model.KindSecret && to.Kind != model.KindConfigMap:
		return object, status.ReasonInvalidKind,
			fmt.Sprintf("%s of group %q cannot be read: use a Secret or a ConfigMap", to.Kind, to.Group)
	case !t.granted(r, from, to):
		return object, status.ReasonRefNotPermitted, t.unseen(r, to, notGranted(from, to))
	}
	if object.Data = t.objectData(r, to); object.Data == nil {
		return object, status.ReasonBackendNotFound, fmt.Sprintf("%s does not exist", to)
	}
	return object, "", ""
}

// notGranted is what is said of a reference that needs a ReferenceGrant.
func notGranted(from, to model.Ref) string {
	return fmt.Sprintf("No ReferenceGrant in namespace %s lets a %s of namespace %s use %s",
		to.Namespace, from.Kind, from.Namespace, to)
}

// objectData returns what a Secret or ConfigMap holds, text and binary data alike; nil if there is none.
func (t *Tables) objectData(r *incr.Reader, ref model.Ref) map[string][]byte {
	text, data, found := map[string]string(nil), map[string][]byte(nil), false
	if ref.Kind == model.KindSecret {
		if secret, ok := incr.Get(r, t.in.secrets, ref.Name); ok {
			text, data, found = secret.StringData, secret.Data, true
		}
	} else if cm, ok := incr.Get(r, t.in.configMaps, ref.Name); ok {
		text, data, found = cm.Data, cm.BinaryData, true
	}
	if !found {
		return nil
	}
	out := make(map[string][]byte, len(text)+len(data))
	for key, bytes := range data {
		out[key] = bytes
	}
	for key, s := range text {
		out[key] = []byte(s)
	}
	return out
}

// SecretValue returns what a Secret has under a key, and whether it has that.
func (t *Tables) SecretValue(r *incr.Reader, secret model.Name, key string) ([]byte, bool) {
	value, ok := t.objectData(r, model.Ref{Kind: model.KindSecret, Name: secret})[key]
	return value, ok
}
