package model

import (
	"reflect"
	"testing"
	"time"
)

// TestA58FetchesOfOthers says that two fetches are one only if all that was said of them is the same: what is fetched
// with the credentials, or the trust, of one is not what another gets. A field that is new is tested by itself.
func TestA58FetchesOfOthers(t *testing.T) {
	spec := FetchSpec{
		Kind: FetchHTTP, URL: "https://a.example/b", SHA256: "aa", CA: "ca", Credentials: "c", Limit: 10,
		Every: time.Hour, Keep: time.Minute,
	}
	same := NewFetch(spec)
	if other := NewFetch(spec); other != same || same.Compare(other) != 0 {
		t.Error("the same fetch is another one")
	}
	typ := reflect.TypeFor[FetchSpec]()
	for i := range typ.NumField() {
		changed := spec
		switch field := reflect.ValueOf(&changed).Elem().Field(i); field.Kind() {
		case reflect.String:
			field.SetString(field.String() + "x")
		case reflect.Int64:
			field.SetInt(field.Int() + 1)
		default:
			t.Fatalf("what is another %s?", typ.Field(i).Name)
		}
		other := NewFetch(changed)
		if other == same || same.Compare(other) == 0 || same.Compare(other) != -other.Compare(same) {
			t.Errorf("fetches with another %s are one", typ.Field(i).Name)
		}
	}
	// What is moved from one field to the next is something else as well.
	moved := spec
	moved.SHA256, moved.CA = "a", "aca"
	if NewFetch(moved) == same {
		t.Error("fields are joined")
	}
}
