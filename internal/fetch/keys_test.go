package fetch

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/model"
)

// The keys of two issuers, and what is left of them.
const (
	firstKey = `{"crv":"Ed25519","kid":"1","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	otherKey = `{"crv":"Ed25519","kid":"2","kty":"OKP","x":"PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw"}`
)

// keysAt is a fetch of keys that are looked for again every millisecond.
func keysAt(url string) model.Fetch {
	return model.NewFetch(model.FetchSpec{
		Kind: model.FetchJWKS, URL: url, Limit: limit, Every: time.Millisecond, Keep: time.Hour,
	})
}

// TestA49KeysOnly says what of an issuer's answers is taken: the public keys of a set, and nothing of anything else.
// What is none stays away from what was there, and is not repeated.
func TestA49KeysOnly(t *testing.T) {
	t.Parallel()
	var answer, asked atomic.Value
	asked.Store("")
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		text := answer.Load().(string)
		switch {
		case r.URL.Path == "/elsewhere":
			_, _ = w.Write([]byte(`{"keys":[` + otherKey + `]}`))
		case text == "redirect":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		case text == "hang":
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case text == "endless":
			chunk := make([]byte, 1<<20)
			for range 100 {
				if _, err := w.Write(chunk); err != nil {
					asked.Store("cut off")
					return
				}
			}
			asked.Store("read")
		default:
			_, _ = w.Write([]byte(text))
		}
	})
	f := run(t, Options{Local: true, Timeout: 200 * time.Millisecond})
	answer.Store(`{"keys":[` + firstKey + `],"token":"s3cret"}`)
	f.Want(keysAt(url), true)
	had := f.next(t)
	if want := `{"keys":[` + firstKey + `]}`; string(had.Data) != want || had.Error != "" {
		t.Fatalf("got %q, %q, want %s", had.Data, had.Error, want)
	}
	for _, step := range []struct{ answer, want string }{
		{"s3cret", "no usable JSON Web Key Set (RFC 7517): it is not JSON"},
		{`{"keys":[]}`, "its list keys is empty"},
		{`{"keys":[{"kty":"oct","k":"s3cret"}]}`, "is a secret (kty oct)"},
		{"endless", "it is larger than 1000 bytes"},
		{"hang", "there was no complete answer within 200ms"},
		{"redirect", "it redirects"},
	} {
		answer.Store(step.answer)
		for {
			got := f.next(t)
			if string(got.Data) != string(had.Data) || strings.Contains(got.Stale.Error, "s3cret") {
				t.Fatalf("%s: got %q, %q", step.answer, got.Data, got.Stale.Error)
			}
			if strings.Contains(got.Stale.Error, step.want) {
				break
			}
		}
	}
	answer.Store(`{"keys":[` + otherKey + `,` + firstKey + `]}`)
	for got := had; ; got = f.next(t) {
		if string(got.Data) == `{"keys":[`+firstKey+`,`+otherKey+`]}` {
			break
		}
	}
	if asked.Load() == "read" {
		t.Error("100 MB were read")
	}
}
