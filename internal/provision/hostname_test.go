package provision_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/pregoi/provision-tenant/internal/provision"
)

func TestCheckHostname(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	for _, test := range []struct {
		host string
		want string // part of the refusal; empty when the name may be had
	}{
		{"acme.pregoi.com", ""},
		{"acme-1.pregoi.com", ""},
		{"a.pregoi.com", ""},
		{"1.pregoi.com", ""},
		{"shop.acme.pregoi.com", ""},
		{"www.acme.pregoi.com", ""}, // www of a tenant is the tenant's
		{"wwww.pregoi.com", ""},
		{label63 + ".pregoi.com", ""},

		{"", "is required"},
		{"acme", "is no full hostname"},
		{"pregoi.com", "is not below the zone"}, // the apex
		{".pregoi.com", "has the label"},
		{"acme..pregoi.com", "has the label"},
		{"acme.pregoi.com.", "must not end in a dot"},
		{"*.pregoi.com", "has the label"},
		{"_acme.pregoi.com", "has the label"},
		{"-acme.pregoi.com", "has the label"},
		{"acme-.pregoi.com", "has the label"},
		{"ACME.pregoi.com", "has the label"},
		{"acme pregoi.com", "has the label"},
		{"acme.pregoi.com\n", "has the label"},
		{"acme.pregoi.com:443", "has the label"},
		{"acme/x.pregoi.com", "has the label"},
		{"https://acme.pregoi.com", "has the label"},
		{"a@acme.pregoi.com", "has the label"},
		{"ac\x00me.pregoi.com", "has the label"},
		{label63 + "a.pregoi.com", "has the label"},
		{strings.Repeat("a.", 122) + "pregoi.com", "is 254 characters long"},

		// What looks like another tenant's name.
		{"аcme.pregoi.com", "has the label"},      // the first letter is Cyrillic
		{"\uff41cme.pregoi.com", "has the label"}, // a full-width a
		{"bücher.pregoi.com", "has the label"},
		{"acme\u200b.pregoi.com", "has the label"}, // a space of no width
		{"acme。pregoi.com", "has the label"},       // an ideographic full stop, which browsers take for a dot
		{"xn--cme-7cd.pregoi.com", "internationalised"},
		{"shop.xn--cme-7cd.pregoi.com", "internationalised"},
		{"ab--cd.pregoi.com", "internationalised"},

		// What lies outside the zone.
		{"acme.example.com", "is not below the zone"},
		{"evilpregoi.com", "is not below the zone"},
		{"acme.evilpregoi.com", "is not below the zone"},
		{"acme.pregoi.com.evil.com", "is not below the zone"},
		{"acme.pregoi.co", "is not below the zone"},
		{"192.0.2.1", "is an address"},

		// What is the house's own.
		{"www.pregoi.com", "is reserved"},
		{"api.pregoi.com", "is reserved"},
		{"admin.pregoi.com", "is reserved"},
		{"mail.pregoi.com", "is reserved"},
		{"m.pregoi.com", "is reserved"},
		{"docs.pregoi.com", "is reserved"},
		{"acme.www.pregoi.com", "is reserved"}, // below a name that is not the tenant's
	} {
		err := provision.CheckHostname(test.host, "pregoi.com", provision.ReservedNames())
		switch {
		case test.want == "" && err != nil:
			t.Errorf("CheckHostname(%q) = %v, want nil", test.host, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("CheckHostname(%q) = %v, want %q", test.host, err, test.want)
		case test.want != "" && provision.ClassOf(err) != provision.Invalid:
			t.Errorf("CheckHostname(%q) is %s, want %s", test.host, provision.ClassOf(err), provision.Invalid)
		}
	}
}

func TestCheckHostnameSettings(t *testing.T) {
	for _, test := range []struct {
		host, zone string
		reserved   []string
		ok         bool
	}{
		{"www.pregoi.com", "pregoi.com", nil, true},
		{"vip.pregoi.com", "pregoi.com", []string{" VIP "}, false}, // as people write settings
		{"acme.pregoi.com", "PREGOI.com", nil, true},
		{"acme.sub.pregoi.com", "sub.pregoi.com", nil, true},
		{"acme.pregoi.com", "sub.pregoi.com", nil, false},
		{"acme.pregoi.com", "", nil, false},
	} {
		if err := provision.CheckHostname(test.host, test.zone, test.reserved); (err == nil) != test.ok {
			t.Errorf("CheckHostname(%q, %q, %q) = %v, want ok %t", test.host, test.zone, test.reserved, err, test.ok)
		}
	}
}

// Whatever is let through is a plain name of the zone, below nothing that is reserved.
func FuzzHostname(f *testing.F) {
	for _, host := range []string{"acme.pregoi.com", "evilpregoi.com", "xn--a.pregoi.com", "www.pregoi.com",
		"acme.pregoi.com.", "*.pregoi.com", "аcme.pregoi.com", "acme\n.pregoi.com", ".pregoi.com", "a.b.c.pregoi.com"} {
		f.Add(host)
	}
	plain := regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+pregoi\.com$`)
	f.Fuzz(func(t *testing.T, host string) {
		err := provision.CheckHostname(host, "pregoi.com", provision.ReservedNames())
		switch {
		case err != nil && provision.ClassOf(err) != provision.Invalid:
			t.Errorf("CheckHostname(%q) is %s, want %s", host, provision.ClassOf(err), provision.Invalid)
		case err != nil && strings.ContainsAny(err.Error(), "\r\n"):
			t.Errorf("CheckHostname(%q) = %q, which is more than a line", host, err)
		case err != nil:
			return
		case len(host) > 253 || !plain.MatchString(host) || strings.Contains("."+host, ".xn--"):
			t.Errorf("CheckHostname(%q) = nil", host)
		case strings.HasSuffix("."+host, ".www.pregoi.com"):
			t.Errorf("CheckHostname(%q) = nil, though www is reserved", host)
		}
	})
}
