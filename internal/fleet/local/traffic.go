package local

import (
	"context"
	"strings"

	"github.com/sluice-gateway/sluice/internal/fleet"
)

// Traffic is what goes through the listeners of users at one moment: those of the admin interface, and the health
// checks and metrics of an Envoy in a pod, are not counted.
type Traffic struct {
	// Connections are all downstream connections, HTTP those of them that speak HTTP; Requests are the active ones.
	Connections, HTTP, Requests uint64
	// Accepted counts the connections that were ever accepted, to see whether more come.
	Accepted uint64
}

// Busy counts what would be lost: requests, and connections that are not HTTP (or not yet), of which Envoy cannot know
// whether they are idle.
func (t Traffic) Busy() uint64 {
	busy := t.Requests
	if t.Connections > t.HTTP {
		busy += t.Connections - t.HTTP
	}
	return busy
}

const trafficFilter = `^((listener|http)\..*\.downstream_(cx|rq)_active|listener\..*\.downstream_cx_total)$`

// Traffic returns what goes through Envoy now.
func (a Admin) Traffic(ctx context.Context) (Traffic, error) {
	stats, err := a.Stats(ctx, trafficFilter)
	if err != nil {
		return Traffic{}, err
	}
	return sumTraffic(stats), nil
}

func sumTraffic(stats map[string]uint64) Traffic {
	var t Traffic
	for name, value := range stats {
		switch {
		case strings.HasPrefix(name, "listener.admin."), strings.HasPrefix(name, "http.admin."):
		case strings.HasPrefix(name, "listener."+fleet.InternalStats), strings.HasPrefix(name, "http."+fleet.InternalStats):
		case strings.Contains(name, ".worker_"): // counted again, by worker
		case strings.HasSuffix(name, "cx_total"):
			t.Accepted += value
		case strings.HasPrefix(name, "listener."):
			t.Connections += value
		case strings.HasSuffix(name, "cx_active"):
			t.HTTP += value
		default:
			t.Requests += value
		}
	}
	return t
}
