// Package jwks reads JSON Web Key Sets (RFC 7517): those that users write, and those that issuers of tokens publish.
//
// What an issuer publishes comes from a server that a route author has named, and its keys end in the configuration of
// Envoy, which operators can see. So nothing of a document goes on but the public keys that Envoy can verify with, each
// made anew of its parts: whatever else a server answers with reaches nobody. It also makes the same of the same keys,
// in whatever order and with whatever decoration they are served, so that only another key is a change.
package jwks

import (
	"encoding/json"
	"errors"
	"fmt"
)

// members are what a key of each type must have (RFC 7518, section 6; RFC 8037, section 2).
var members = map[string][]string{"RSA": {"n", "e"}, "EC": {"crv", "x", "y"}, "OKP": {"crv", "x"}, "oct": {"k"}}

// key is one of a set, with its members as JSON has them.
type key map[string]any

// text is a member that is a text; empty if it is none.
func (k key) text(member string) string {
	value, _ := k[member].(string)
	return value
}

// private reports whether a key is that of who signs.
func (k key) private() bool {
	_, yes := k["d"]
	return yes
}

// read returns the keys of a set. Its errors show none of what is in it.
func read(text []byte) ([]key, error) {
	var set struct {
		Keys []key `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, errors.New("it is not JSON with a list keys")
	}
	if len(set.Keys) == 0 {
		return nil, errors.New("its list keys is empty: no token could be verified")
	}
	return set.Keys, nil
}

// Check returns what is wrong with a set that somebody wrote: each key has to be complete. It shows none of what is in
// it.
func Check(text string) error {
	keys, err := read([]byte(text))
	if err != nil {
		return err
	}
	for i, k := range keys {
		needed, ok := members[k.text("kty")]
		if !ok {
			return fmt.Errorf("keys[%d] is not of type (kty) RSA, EC, OKP or oct", i)
		}
		for _, member := range needed {
			if k.text(member) == "" {
				return fmt.Errorf("keys[%d] has no %s", i, member)
			}
		}
		if k.private() {
			return fmt.Errorf("keys[%d] is a private key: put the public one there, and replace the pair", i)
		}
	}
	return nil
}
