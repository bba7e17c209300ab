package file

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const benchRoute = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: r%d
spec:
  parentRefs:
  - name: gw
  hostnames: ["h%d.example.com"]
  rules:
  - matches:
    - path: {type: PathPrefix, value: /foo}
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        add: [{name: x, value: yy}]
    backendRefs:
    - group: gateway.envoyproxy.io
      kind: Backend
      name: b1
`

// BenchmarkLoad reads 10,000 routes from nothing, in 100 files.
func BenchmarkLoad(b *testing.B) {
	dir := b.TempDir()
	for f := range 100 {
		var text strings.Builder
		for i := range 100 {
			fmt.Fprintf(&text, benchRoute+"---\n", f*100+i, i)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.yaml", f)), []byte(text.String()), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for range b.N {
		src, err := New(Options{Paths: []string{dir}})
		if err != nil {
			b.Fatal(err)
		}
		batch, err := src.Load(context.Background())
		if err != nil || len(batch.Set) != 10_001 || len(batch.Problems) > 0 {
			b.Fatalf("%d objects, problems %v, error %v", len(batch.Set), batch.Problems, err)
		}
	}
}
