package pipeline

import (
	"slices"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// issues collects what the statuses say is wrong, so that what is printed is what the objects' conditions hold.
type issues struct {
	now, fixed status.Report
}

// Issues returns everything that is wrong with what is there now, in a fixed order.
func (p *Pipeline) Issues() status.Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out issues
	for name, st := range p.resolved.GatewayClassStatus.All() {
		out.now = append(out.now, status.Problems(classRef(name), &st)...)
	}
	for name, st := range p.resolved.GatewayStatus.All() {
		out.now = append(out.now, status.Problems(gatewayRef(name), &st)...)
	}
	for name, st := range p.resolved.ListenerSetStatus.All() {
		out.now = append(out.now, status.Problems(setRef(name), &st)...)
	}
	for key, st := range p.resolved.RouteStatus.All() {
		out.now = append(out.now, status.Problems(key.Ref(), &st)...)
	}
	for name, st := range p.resolved.BackendStatus.All() {
		out.now = append(out.now, status.Problems(backendRef(name), &st)...)
	}
	for name, st := range p.resolved.EnvoyProxyStatus.All() {
		out.now = append(out.now, status.Problems(envoyProxyRef(name), &st)...)
	}
	for ref, policy := range p.resolved.Policies.All() {
		out.now = append(out.now, status.Problems(ref, &policy.Status)...)
	}
	for _, report := range p.built.PatchReports.All() {
		out.now = append(out.now, report...)
	}
	for name, st := range p.resolved.XBackendStatus.All() {
		out.now = append(out.now, status.Problems(xbackendRef(name), &st)...)
	}
	for _, report := range p.strays {
		out.now = append(out.now, report...)
	}
	out.now = append(out.now, p.quarantine.report()...)
	out.now = append(out.now, p.blame.report()...)
	slices.SortFunc(out.now, status.Issue.Compare)
	return out.now
}

// issueChanges returns what the last commit made wrong, and what it mended.
func (p *Pipeline) issueChanges() (now, fixed status.Report) {
	var out issues
	for name, c := range p.resolved.GatewayClassStatus.Changes() {
		compare(&out, classRef(name), c)
	}
	for name, c := range p.resolved.GatewayStatus.Changes() {
		compare(&out, gatewayRef(name), c)
	}
	for name, c := range p.resolved.ListenerSetStatus.Changes() {
		compare(&out, setRef(name), c)
	}
	for key, c := range p.resolved.RouteStatus.Changes() {
		compare(&out, key.Ref(), c)
	}
	for name, c := range p.resolved.BackendStatus.Changes() {
		compare(&out, backendRef(name), c)
	}
	for name, c := range p.resolved.EnvoyProxyStatus.Changes() {
		compare(&out, envoyProxyRef(name), c)
	}
	for ref, c := range p.resolved.Policies.Changes() {
		compare(&out, ref, incr.Change[gwv1.PolicyStatus]{
			Old: c.Old.Status, HadOld: c.HadOld, New: c.New.Status, Has: c.Has,
		})
	}
	for _, c := range p.built.PatchReports.Changes() {
		out.differ(c.Old, c.New)
	}
	for name, c := range p.resolved.XBackendStatus.Changes() {
		compare(&out, xbackendRef(name), c)
	}
	slices.SortFunc(out.now, status.Issue.Compare)
	slices.SortFunc(out.fixed, status.Issue.Compare)
	return out.now, out.fixed
}

// compare adds what one object's status says now and did not say before, and the other way round.
func compare[S any](out *issues, ref model.Ref, c incr.Change[S]) {
	var before, after status.Report
	if c.HadOld {
		before = status.Problems(ref, &c.Old)
	}
	if c.Has {
		after = status.Problems(ref, &c.New)
	}
	out.differ(before, after)
}

// differ adds what is wrong now and was not before, and the other way round.
func (out *issues) differ(before, after status.Report) {
	for _, i := range after {
		if !slices.Contains(before, i) {
			out.now = append(out.now, i)
		}
	}
	for _, i := range before {
		if !slices.Contains(after, i) {
			out.fixed = append(out.fixed, i)
		}
	}
}

func classRef(name model.Name) model.Ref {
	return model.Ref{Group: model.GroupGateway, Kind: model.KindGatewayClass, Name: name}
}

func gatewayRef(name model.Name) model.Ref {
	return model.Ref{Group: model.GroupGateway, Kind: model.KindGateway, Name: name}
}

func setRef(name model.Name) model.Ref {
	return model.Ref{Group: model.GroupGateway, Kind: model.KindListenerSet, Name: name}
}

func backendRef(name model.Name) model.Ref {
	return model.Ref{Group: model.GroupEnvoyGateway, Kind: model.KindBackend, Name: name}
}

func envoyProxyRef(name model.Name) model.Ref {
	return model.Ref{Group: model.GroupEnvoyGateway, Kind: model.KindEnvoyProxy, Name: name}
}

func patchRef(name model.Name) model.Ref {
	return model.Ref{Group: model.GroupEnvoyGateway, Kind: model.KindEnvoyPatchPolicy, Name: name}
}

func xbackendRef(name model.Name) model.Ref {
	return model.Ref{Group: model.GroupGatewayX, Kind: model.KindXBackend, Name: name}
}
