package fleet

import (
	"cmp"
	"fmt"
	"time"

	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	downstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// The names under which Envoy knows the resource monitors.
const (
	connectionMonitor = "envoy.resource_monitors.global_downstream_max_connections"
	heapMonitor       = "envoy.resource_monitors.fixed_heap"
)

const (
	overloadRefresh = 250 * time.Millisecond
	// Near its limit Envoy gives memory back first, and refuses requests only when that did not help.
	shrinkHeapAt, stopRequestsAt = 0.95, 0.98
)

// overloadManager makes Envoy refuse work before it dies of it: overload_manager.
func overloadManager(c Config) (*overloadv3.OverloadManager, error) {
	connections, err := monitor(connectionMonitor, &downstreamv3.DownstreamConnectionsConfig{
		MaxActiveDownstreamConnections: cmp.Or(c.MaxConnections, DefaultMaxConnections),
	})
	if err != nil {
		return nil, err
	}
	out := &overloadv3.OverloadManager{
		RefreshInterval:  durationpb.New(overloadRefresh),
		ResourceMonitors: []*overloadv3.ResourceMonitor{connections},
	}
	if c.MaxHeapBytes == 0 {
		return out, nil
	}
	heap, err := monitor(heapMonitor, &heapv3.FixedHeapConfig{MaxHeapSizeBytes: c.MaxHeapBytes})
	if err != nil {
		return nil, err
	}
	out.ResourceMonitors = append(out.ResourceMonitors, heap)
	out.Actions = []*overloadv3.OverloadAction{
		heapAction("envoy.overload_actions.shrink_heap", shrinkHeapAt),
		heapAction("envoy.overload_actions.stop_accepting_requests", stopRequestsAt),
	}
	return out, nil
}

func monitor(name string, config proto.Message) (*overloadv3.ResourceMonitor, error) {
	typed, err := anypb.New(config)
	if err != nil {
		return nil, fmt.Errorf("marshal the configuration of %s: %w", name, err)
	}
	return &overloadv3.ResourceMonitor{
		Name:       name,
		ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: typed},
	}, nil
}

// heapAction is an action that is taken when the heap reaches a share of its limit.
func heapAction(name string, threshold float64) *overloadv3.OverloadAction {
	return &overloadv3.OverloadAction{
		Name: name,
		Triggers: []*overloadv3.Trigger{{
			Name: heapMonitor,
			TriggerOneof: &overloadv3.Trigger_Threshold{
				Threshold: &overloadv3.ThresholdTrigger{Value: threshold},
			},
		}},
	}
}
