package provision

import "strings"

// An Order says what a job's new servers are made of, and where. The zero Order leaves all
// of it to the program.
type Order struct {
	// Locations are the vendor's names of where the servers may stand, Types those of the
	// sizes that they may have, in the order in which they are tried.
	Locations, Types []string
	// DBTypes and RedisTypes are of dedicated stacks alone; empty for Types.
	DBTypes, RedisTypes []string
	Image               string // empty for one that nobody has to look for
	SSHKey              string // empty for none
}

// Places returns all ways to fill the order, in the order in which they are tried: every
// location with the first types, then every location with the next ones. A list of types
// that is shorter than another goes on with its last. It is nil for the zero Order.
func (o Order) Places() []Place {
	if len(o.Locations)+len(o.Types)+len(o.DBTypes)+len(o.RedisTypes) == 0 {
		return nil
	}
	locations := o.Locations
	if len(locations) == 0 {
		locations = []string{""}
	}
	var list []Place
	for i := range max(1, len(o.Types), len(o.DBTypes), len(o.RedisTypes)) {
		for _, l := range locations {
			list = append(list, Place{l, at(o.Types, i), at(o.DBTypes, i), at(o.RedisTypes, i)})
		}
	}
	return list
}

func at(list []string, i int) string {
	if len(list) == 0 {
		return ""
	}
	return list[min(i, len(list)-1)]
}

// A Place is one way to fill an [Order]. What is empty is left to the program.
type Place struct {
	Location          string
	Type              string
	DBType, RedisType string // empty for Type
}

// Types returns the types that the place names, each once.
func (p Place) Types() []string {
	var list []string
	seen := map[string]bool{"": true}
	for _, t := range []string{p.Type, p.DBType, p.RedisType} {
		if !seen[t] {
			list = append(list, t)
		}
		seen[t] = true
	}
	return list
}

func (p Place) String() string {
	text := strings.Join(p.Types(), " and ")
	if text == "" {
		text = "a server"
	}
	if p.Location != "" {
		text += " at " + p.Location
	}
	return text
}

// An Offer is what the vendor has to give of an [Order] at the moment.
type Offer struct {
	Places   []Place  // those that can be tried, in their order
	Skipped  []string // the others, each with the reason
	Warnings []string // what a person should know, though servers are to be had
}
