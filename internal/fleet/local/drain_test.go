package local

import "testing"

func TestTrafficIsCountedOnce(t *testing.T) {
	tests := map[string]struct {
		stats             map[string]uint64
		connections, busy uint64
	}{
		"nothing": {map[string]uint64{}, 0, 0},
		"only the admin interface": {map[string]uint64{
			"listener.admin.downstream_cx_active": 1, "http.admin.downstream_cx_active": 1, "http.admin.downstream_rq_active": 1,
		}, 0, 0},
		"idle HTTP": {map[string]uint64{
			"listener.0.0.0.0_80.downstream_cx_active":          3,
			"listener.0.0.0.0_80.worker_0.downstream_cx_active": 2,
			"listener.0.0.0.0_80.worker_1.downstream_cx_active": 1,
			"http.http-80.downstream_cx_active":                 3,
			"http.http-80.downstream_rq_active":                 0,
		}, 3, 0},
		"requests and TCP": {map[string]uint64{
			"listener.0.0.0.0_80.downstream_cx_active":   3,
			"listener.0.0.0.0_5432.downstream_cx_active": 4,
			"http.http-80.downstream_cx_active":          3,
			"http.http-80.downstream_rq_active":          2,
		}, 7, 6},
		"probes": {map[string]uint64{
			"listener.sluice_ready.downstream_cx_active": 1, "http.sluice_metrics.downstream_rq_active": 1,
		}, 0, 0},
		// The two stats are not read at one instant.
		"HTTP ahead of its listener": {map[string]uint64{
			"listener.0.0.0.0_80.downstream_cx_active": 1, "http.http-80.downstream_cx_active": 2,
		}, 1, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := sumTraffic(test.stats)
			if got.Connections != test.connections || got.Busy() != test.busy {
				t.Errorf("%+v is busy with %d; want %d connections, busy with %d",
					got, got.Busy(), test.connections, test.busy)
			}
		})
	}
}
