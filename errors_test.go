package latchkey

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestEachKindHasAWholeRow(t *testing.T) {
	names := map[string]Kind{}
	for _, k := range Kinds() {
		row := k.Row()
		if row.Name == "" || row.Title == "" || row.HTTP < 400 || row.SIP < 300 || row.MSRP < 400 {
			t.Errorf("kind %d has the row %+v", k, row)
		}
		if other, taken := names[row.Name]; taken {
			t.Errorf("kinds %d and %d are both %q", k, other, row.Name)
		}
		names[row.Name] = k
	}
}

func TestKindOfTheOutermostErrorCounts(t *testing.T) {
	inner := Wrap(KindCoreTimeout, errors.New("no answer"), "")
	err := fmt.Errorf("register: %w", &Error{Kind: KindRegistrationFailed, Err: inner, RetryAfter: 7 * time.Second})
	if KindOf(err) != KindRegistrationFailed || RetryAfter(err) != 7*time.Second {
		t.Errorf("KindOf = %v, RetryAfter = %v", KindOf(err), RetryAfter(err))
	}
	if KindOf(errors.New("x")) != KindInternal || Is(nil, KindInternal) {
		t.Error("a foreign error is internal, and nil is no error")
	}
}

func TestSecretsAreMasked(t *testing.T) {
	s := struct{ S Secret }{"hunter2"}
	for _, f := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(f, s); got != "" && strings.Contains(got, "hunter2") {
			t.Errorf("%s shows %s", f, got)
		}
	}
}
