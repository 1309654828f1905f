package provision_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// message is the JSON of fields(nil), with the members in more added at its end.
func message(more string) string {
	return `{"job_id":"job-1","tenant_id":"acme-1","region":"sg","target_server_id":"",` +
		`"subdomain_slug":"acme","canonical_hostname":"acme.pregoi.com","trace_id":"trace_1"` + more + `}`
}

const create = `,"create_new_server":"true"`

func TestParseMessage(t *testing.T) {
	for _, test := range []struct {
		data         string
		allowUnknown bool
		want         provision.Job
	}{
		{message(create), false, job(func(*provision.Job) {})},
		{" \n" + message(create) + "\n", false, job(func(*provision.Job) {})},
		{message(create + `,"dedicated":"true"`), false, job(func(j *provision.Job) { j.Dedicated = true })},
		// Booleans are what a careless sender makes of them.
		{message(`,"create_new_server":true,"dedicated":true`), false, job(func(j *provision.Job) { j.Dedicated = true })},
		{message(create + `,"dedicated":false`), false, job(func(*provision.Job) {})},
		{message(create + `,"dedicated":null`), false, job(func(*provision.Job) {})},
		{message(create + `,"added_later":{"a":[1]}`), true, job(func(*provision.Job) {})},
		{message(create + `,"added_later":1,"added_later":2`), true, job(func(*provision.Job) {})},
		{`{"\u006aob_id":"job-1"` + strings.TrimPrefix(message(create), `{"job_id":"job-1"`), false, job(func(*provision.Job) {})},
		{strings.Replace(message(create), "trace_1", "nonsense", 1), false, job(func(j *provision.Job) { j.TraceID = "" })},
		{strings.Replace(message(create), `"trace_1"`, "null", 1), false, job(func(j *provision.Job) { j.TraceID = "" })},
	} {
		got, err := provision.ParseMessage([]byte(test.data), test.allowUnknown)
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("ParseMessage(%s): %v (-want +got)\n%s", test.data, err, diff)
		}
	}
}

func TestParseMessageRefuses(t *testing.T) {
	big := strings.Repeat("x", provision.MaxMessageBytes)
	for _, test := range []struct {
		data string
		want []string // parts of the refusal
		not  string   // what it must not say
	}{
		{"", []string{"not a JSON object"}, ""},
		{"[]", []string{"not a JSON object"}, ""},
		{`"job"`, []string{"not a JSON object"}, ""},
		{"null", []string{"not a JSON object"}, ""},
		{"{", []string{"not valid JSON"}, ""},
		{`{"job_id"}`, []string{"not valid JSON"}, ""},
		{`{"job_id":"a"`, []string{"not valid JSON"}, ""},
		{`{"job_id":"a",}`, []string{"not valid JSON"}, ""},
		{message(create) + message(create), []string{"more than one JSON value"}, ""},
		{message(create) + "}", []string{"more than one JSON value"}, ""},
		{message(create) + "]", []string{"more than one JSON value"}, ""},
		{message(create) + "x", []string{"more than one JSON value"}, ""},
		{message(create + `,"note":"` + big + `"`), []string{"more than the 131072 that a queue carries"}, big[:100]},
		{message(create + `,"note":"x"`), []string{`note "\"x\"" is not a field of the message`}, ""},
		{message(create + `,"Job_ID":"job-2"`), []string{"Job_ID", "is not a field of the message"}, ""},
		{message(create + `,"a\n::error::b":1`), []string{`"a\n::error::b" "1" is not a field`}, "\n"},
		{message(create + `,"` + big[:9000] + `":1`), []string{"is not a field of the message"}, big[:100]},
		{message(create + strings.Repeat(`,"n":1`, 9000)), []string{"and 8950 more"}, ""},
		{message(create + `,"tenant_id":"other"`), []string{"tenant_id", "stands there twice"}, ""},
		{message(create + `,"\u0074enant_id":"other"`), []string{"tenant_id", "stands there twice"}, ""},
		{message(`,"create_new_server":1`), []string{`create_new_server "1" is not a string`}, "target_server_id"},
		{message(`,"create_new_server":null`), []string{`create_new_server "null" is not a string`}, "target_server_id"},
		{message(create + `,"dedicated":1`), []string{`dedicated "1" is not a string`}, "neither"},
		{strings.Replace(message(create), `"job-1"`, "7", 1), []string{`job_id "7" is not a string`}, "required"},
		{strings.Replace(message(create), `"sg"`, "true", 1), []string{`region "true" is not a string`}, "is not sg"},
		{message(""), []string{"nowhere to put the tenant"}, ""},
		// Everything that is wrong, in one go.
		{`{"job_id":5,"tenant_id":"a b","region":"mars","create_new_server":"maybe","extra":true,"dedicated":[],"trace_id":"x"}`,
			[]string{`job_id "5" is not a string`, `tenant_id "a b"`, `region "mars"`, `create_new_server "maybe"`, `extra "true"`,
				`dedicated "[]"`, `subdomain_slug "" is required`, `canonical_hostname "" is required`}, "trace_id"},
	} {
		got, err := provision.ParseMessage([]byte(test.data), false)
		if provision.ClassOf(err) != provision.Invalid || got != (provision.Job{}) {
			t.Errorf("ParseMessage(%.300s) = %+v, %v; want no job and an invalid error", test.data, got, err)
			continue
		}
		for _, want := range test.want {
			if strings.Count(err.Error(), want) != 1 {
				t.Errorf("ParseMessage(%.300s) = %.2000q, want %q in it, once", test.data, err, want)
			}
		}
		if test.not != "" && strings.Contains(err.Error(), test.not) {
			t.Errorf("ParseMessage(%.300s) = %.2000q, want no %.100q in it", test.data, err, test.not)
		}
		if len(err.Error()) > 20_000 {
			t.Errorf("ParseMessage(%.300s): the error has %d characters", test.data, len(err.Error()))
		}
	}
}

// The names of a message's members, of Fields and of Field are the same, in the same order.
func TestFields(t *testing.T) {
	var m provision.Message
	data := "{"
	for i, name := range provision.Fields() {
		data += fmt.Sprintf("%.*s%q:%q", min(i, 1), ",", name, "v-"+name)
	}
	data += "}"
	if err := json.Unmarshal([]byte(data), &m); err != nil {
		t.Fatal(err)
	}
	for _, name := range provision.Fields() {
		if got, want := m.Field(name), "v-"+name; got != want {
			t.Errorf("Field(%q) = %q, want %q", name, got, want)
		}
	}
	if got := m.Field("no_such_field"); got != "" {
		t.Errorf("Field of a name that there is not = %q, want nothing", got)
	}
	if again, err := json.Marshal(m); err != nil || string(again) != data {
		t.Errorf("a message is\n%s, %v; want\n%s", again, err, data)
	}
}

// The attempt is in the message, and no input: a job done once more asks for the same.
func TestAttempt(t *testing.T) {
	for text, want := range map[string]int{`"1"`: 0, `"2"`: 2, `"1000"`: 1000, `null`: 0, `""`: 0} {
		job, err := provision.ParseMessage([]byte(message(create+`,"attempt":`+text)), false)
		if err != nil || job.Attempt != want {
			t.Errorf("attempt %s: %d, %v; want %d", text, job.Attempt, err, want)
		}
	}
	for _, text := range []string{`"0"`, `"-1"`, `"02"`, `"2 "`, `"1001"`, `"two"`, `2`} {
		_, err := provision.ParseMessage([]byte(message(create+`,"attempt":`+text)), false)
		if fields := provision.FieldErrors(err); len(fields) != 1 || fields[0].Field != "attempt" {
			t.Errorf("attempt %s: %v, want it refused by name", text, err)
		}
	}
}

// A job comes out of its message as it went in, and whatever is refused is refused as
// invalid, on one line.
func FuzzParseMessage(f *testing.F) {
	for _, data := range []string{
		message(create), message(create + `,"dedicated":true`), message(create + `,"attempt":"2"`), message(`,"create_new_server":false`), message(create) + "}",
		message(create + `,"tenant_id":"b"`), strings.Replace(message(create), `"target_server_id":""`, `"target_server_id":"hz-sg-7"`, 1),
		"{}", "[]", "", `{"job_id":`, `{"a\nb":1}`, "{\"job_id\":\"\xff\"}",
	} {
		f.Add([]byte(data), false)
		f.Add([]byte(data), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, allowUnknown bool) {
		job, err := provision.ParseMessage(data, allowUnknown)
		if err != nil {
			if provision.ClassOf(err) != provision.Invalid || strings.ContainsAny(err.Error(), "\r\n") || job != (provision.Job{}) {
				t.Errorf("ParseMessage(%q) = %+v, %q of class %s; want no job and an invalid error on one line", data, job, err, provision.ClassOf(err))
			}
			return
		}
		if !json.Valid(data) {
			t.Errorf("ParseMessage(%q) took what is no JSON", data)
		}
		sent, err := json.Marshal(job.Message())
		if err != nil {
			t.Fatal(err)
		}
		if again, err := provision.ParseMessage(sent, false); err != nil || again != job {
			t.Errorf("got  %+v, %v\nwant %+v", again, err, job)
		}
	})
}
