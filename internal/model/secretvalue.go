package model

import "strings"

// KindSecretValue is the kind of a [BackendKey] that stands for a value of a Secret: see [SecretValue].
const KindSecretValue = "SecretValue"

// SecretValue returns the key of the value that a Secret has under a key. Requests need such a value as they need a
// backend: it has a cluster that is warm once Envoy has it, so that nothing is told to use it before.
func SecretValue(secret Name, key string) BackendKey {
	return BackendKey{Kind: KindSecretValue, Name: Name{Namespace: secret.Namespace, Name: secret.Name + "/" + key}}
}

// SecretValue returns the Secret and the key that the value is under, and false for what is no such value.
func (k BackendKey) SecretValue() (secret Name, key string, ok bool) {
	if k.Kind != KindSecretValue {
		return Name{}, "", false
	}
	name, key, ok := strings.Cut(k.Name.Name, "/")
	return Name{Namespace: k.Namespace, Name: name}, key, ok
}
