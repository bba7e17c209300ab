package envoy

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// Field numbers of the messages of Envoy Gateway's package envoygateway.extension. Requests are put together from bytes
// that are there already.
const (
	// The requests of all hooks but Translation have one resource and a context.
	fieldHookResource protowire.Number = 1
	fieldHookContext  protowire.Number = 2

	// Contexts have the objects of filters, backends or policies first.
	fieldContextObjects   protowire.Number = 1
	fieldContextHostnames protowire.Number = 2 // PostRouteExtensionContext.hostnames
	fieldContextPolicies  protowire.Number = 3 // PostRouteExtensionContext.extension_policies

	fieldObjectBytes protowire.Number = 1 // ExtensionResource.unstructured_bytes
)

// hookContext is what an extension server is told besides the resource.
type hookContext struct {
	// Objects are those of filters and backends; for the hooks of listeners and of everything, policies.
	Objects []model.Extension
	// Policies are those of the route, Hostnames the domains that it serves.
	Policies  []model.Extension
	Hostnames []string
}

func (c hookContext) marshal() []byte {
	out := []byte{} // an empty context is one
	for _, e := range c.Objects {
		out = appendObject(out, fieldContextObjects, e)
	}
	for _, h := range c.Hostnames {
		out = protowire.AppendTag(out, fieldContextHostnames, protowire.BytesType)
		out = protowire.AppendString(out, h)
	}
	for _, e := range c.Policies {
		out = appendObject(out, fieldContextPolicies, e)
	}
	return out
}

func appendObject(out []byte, field protowire.Number, e model.Extension) []byte {
	object := protowire.AppendTag(nil, fieldObjectBytes, protowire.BytesType)
	object = protowire.AppendString(object, e.JSON)
	return appendField(out, field, object)
}

func appendField(out []byte, field protowire.Number, value []byte) []byte {
	out = protowire.AppendTag(out, field, protowire.BytesType)
	return protowire.AppendBytes(out, value)
}

// verdict is what the extension servers have done for a resource.
type verdict struct {
	// Calls are the questions to them whose answers it depends on, in their order.
	Calls []model.Call
	// Pending says that an answer is missing, Failed why there is none; then what was before stays.
	Pending bool
	Failed  string
}

func (v verdict) ready() bool { return !v.Pending && v.Failed == "" }

// join adds the verdict on another part of the same thing.
func (v verdict) join(o verdict) verdict {
	v.Calls = append(v.Calls[:len(v.Calls):len(v.Calls)], o.Calls...)
	v.Pending = v.Pending || o.Pending
	if v.Failed == "" {
		v.Failed = o.Failed
	}
	return v
}

// extender asks extension servers: it says what it wants to ask, and reads what they have answered.
type extender struct {
	managers []model.ExtensionManager
	answers  *incr.Input[model.Call, model.Answer]
}

// takes says whether some extension server takes part in a hook.
func (x *extender) takes(hook model.Hook) bool {
	for i := range x.managers {
		if x.managers[i].Takes(hook) {
			return true
		}
	}
	return false
}

// question is what is asked of extension servers about one resource.
type question struct {
	hook model.Hook
	// about names the resource, body is it.
	about string
	body  []byte
	// context returns what a server is told besides, false if it is not asked.
	context func(m *model.ExtensionManager) (hookContext, bool)
}

// ask has all servers that take part in the hook change the resource, one after the other.
func (x *extender) ask(r *incr.Reader, q question) ([]byte, verdict) {
	var v verdict
	body := q.body
	for i := range x.managers {
		m := &x.managers[i]
		if !m.Takes(q.hook) {
			continue
		}
		context, asked := q.context(m)
		if !asked {
			continue
		}
		request := appendField(nil, fieldHookResource, body)
		request = appendField(request, fieldHookContext, context.marshal())
		answer, ok := x.call(r, m, q, request, &v)
		if !ok {
			return body, v
		}
		if answer.Data != nil {
			body = answer.Data
		}
	}
	return body, v
}

// call notes a call and returns its answer; an empty one if the server fails open. It returns false if there is none
// with which to go on.
func (x *extender) call(
	r *incr.Reader, m *model.ExtensionManager, q question, request []byte, v *verdict,
) (model.Answer, bool) {
	call := model.NewCall(model.CallSpec{Manager: m.Name, Hook: q.hook, Request: string(request), About: q.about})
	v.Calls = append(v.Calls, call)
	answer, ok := incr.Get(r, x.answers, call)
	switch {
	case !ok:
		v.Pending = true
		return model.Answer{}, false
	case answer.Error != "" && m.FailOpen:
		return model.Answer{}, true
	case answer.Error != "":
		v.Failed = fmt.Sprintf("The extension server %q was asked for the %s %s and has failed: %s",
			m.Name, hookNouns[q.hook], q.about, answer.Error)
		return model.Answer{}, false
	}
	return answer, true
}

// hookNouns are what messages call what a hook is about.
var hookNouns = map[model.Hook]string{
	model.HookRoute: "route", model.HookVirtualHost: "virtual host", model.HookHTTPListener: "listener",
	model.HookCluster: "cluster", model.HookEndpoints: "endpoints", model.HookTranslation: "configuration of",
}

// always is the context of hooks that all servers take part in, without any objects.
func always(*model.ExtensionManager) (hookContext, bool) { return hookContext{}, true }

// translates says whether some extension server is given all resources of a type.
func (x *extender) translates(typ xds.Type) bool {
	for i := range x.managers {
		if m := &x.managers[i]; m.Takes(model.HookTranslation) && Includes(m, typ) {
			return true
		}
	}
	return false
}

// Includes says whether the hook for everything is about a type of resources for a server.
func Includes(m *model.ExtensionManager, typ xds.Type) bool {
	switch typ {
	case xds.Cluster:
		return m.Translation.Clusters
	case xds.Secret:
		return m.Translation.Secrets
	case xds.Listener:
		return m.Translation.Listeners
	case xds.Routes:
		return m.Translation.Routes
	default:
		return false
	}
}
