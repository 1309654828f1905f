package pulumi

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// Where new servers may stand, and what they may be, is told to the program in four more
// keys of its config: server_location, server_type, and on dedicated stacks db_server_type
// and redis_server_type. They are set where the caller leaves a choice, and count for the
// servers that are made by this very update: a program has to leave those that are there
// alone, as the built-in one does.
//
// What Hetzner has none of at one place is tried at the next. What was made at an earlier
// place stays there, so a job whose servers are several may have them at two.

// choice is what the program is told of the place that is tried now.
func (s *session) choice() map[string]string {
	values := map[string]string{}
	if s.place < len(s.places) {
		p := s.places[s.place]
		values = map[string]string{"server_location": p.Location, "server_type": p.Type}
		if s.job.Dedicated {
			values["db_server_type"], values["redis_server_type"] = p.DBType, p.RedisType
		}
	}
	for name, value := range values {
		if value == "" {
			delete(values, name)
		}
	}
	return values
}

// elsewhere goes over to the next place, if err is only that Hetzner had no server to give
// at this one. It returns err as it is where it is more than that, and with all that was
// tried where there is no other place.
func (s *session) elsewhere(up *report, err error) error {
	e := (*provision.Error)(nil)
	lacking := s.lacking(up)
	if len(lacking) == 0 || len(s.places) == 0 || !errors.As(err, &e) {
		return err
	}
	for _, m := range lacking {
		s.refused = append(s.refused, fmt.Sprintf("%s: %s (%s)", nameOf(m.URN), s.asked(m), vendorCodeOf(up.problemOf(m.URN))))
	}
	with := *e
	switch {
	case !slices.ContainsFunc(lacking, s.heeds):
		with.Text += fmt.Sprintf("; no other place was tried, since the program does not take prego:server_location and prego:server_type: it asked for %s where %s was chosen",
			s.asked(lacking[0]), s.places[s.place])
		return &with
	case s.place+1 >= len(s.places):
		if s.place > 0 {
			with.Text += "; tried: " + strings.Join(s.refused, ", ")
		}
		return &with
	}
	s.note("Hetzner has no room for %s; trying %s", strings.Join(s.refused[len(s.refused)-len(lacking):], ", "), s.places[s.place+1])
	s.place++
	s.tookOver = false // what is asked for next is another thing
	return &failure{again: atOnce, err: &with}
}

// lacking returns the servers that Hetzner had not got, if nothing else went wrong.
func (s *session) lacking(up *report) []apitype.StepEventMetadata {
	for _, m := range up.failed {
		c := vendor[vendorCodeOf(up.problemOf(m.URN))]
		if m.Type != serverType || !c.then.elsewhere || m.New == nil || m.New.ID != "" {
			return nil
		}
	}
	return up.failed
}

// vendorCodeOf returns the code in what was said about a resource; empty if there is none
// that we know.
func vendorCodeOf(text string) string {
	for _, m := range vendorCode.FindAllStringSubmatch(text, -1) {
		if _, known := vendor[m[1]]; known {
			return m[1]
		}
	}
	return ""
}

// asked is what the program asked for, in words.
func (s *session) asked(m apitype.StepEventMetadata) string {
	return provision.Place{Location: text(m.New.Inputs["location"]), Type: text(m.New.Inputs["serverType"])}.String()
}

// heeds reports whether the program asked for what was chosen. One that does not would ask
// for the same thing again.
func (s *session) heeds(m apitype.StepEventMetadata) bool {
	p := s.places[s.place]
	location, kind := text(m.New.Inputs["location"]), text(m.New.Inputs["serverType"])
	return (p.Location == "" || location == p.Location) && (p.Type == "" || slices.Contains(p.Types(), kind))
}
