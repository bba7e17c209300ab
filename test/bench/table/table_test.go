package table

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTable(t *testing.T) {
	var b bytes.Buffer
	(&Table{Rows: []Row{
		{What: "reached", Measured: 12.34, Target: 30, Peer: 4200, Note: "p50 of 20"},
		{What: "missed", Measured: 165, Unit: Mebibytes, Target: 150},
		{What: "promised nothing", Measured: 0.5},
		{What: "lost", Measured: 2, Unit: Requests},
		{What: "none lost", Unit: Requests},
		{What: "share", Measured: 1.01, Unit: Ratio, Target: 1.03},
	}}).Print(&b)
	const want = `
WHAT               SLUICE    TARGET    OF TARGET     PEER   PEER/SLUICE   NOTE
reached            12.3ms    30ms      0.41          4.2s   340 x         p50 of 20
missed             165 MiB   150 MiB   1.10 MISSED   -      -             
promised nothing   500µs     -         -             -      -             
lost               2         0         MISSED        -      -             
none lost          0         0         reached       -      -             
share              1.010     1.030     0.98          -      -             
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}
