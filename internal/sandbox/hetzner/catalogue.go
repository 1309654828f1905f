package hetzner

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud/schema"
)

// A location is a place where servers stand.
type location struct {
	id                  int64
	name, city, country string
	zone                string
	latitude, longitude float64
}

// locations are the vendor's, with their IDs.
// https://docs.hetzner.com/cloud/general/locations
func locations() []location {
	return []location{
		{1, "fsn1", "Falkenstein", "DE", "eu-central", 50.47612, 12.370071},
		{2, "nbg1", "Nuremberg", "DE", "eu-central", 49.452102, 11.076665},
		{3, "hel1", "Helsinki", "FI", "eu-central", 60.169855, 24.938379},
		{4, "ash", "Ashburn, VA", "US", "us-east", 39.045821, -77.487073},
		{5, "hil", "Hillsboro, OR", "US", "us-west", 45.54222, -122.951924},
		{6, "sin", "Singapore", "SG", "ap-southeast", 1.283333, 103.833333},
	}
}

func findLocation(idOrName string) (location, bool) {
	for _, l := range locations() {
		if l.name == idOrName || strconv.FormatInt(l.id, 10) == idOrName {
			return l, true
		}
	}
	return location{}, false
}

func locationNamed(name string) schema.Location {
	l, _ := findLocation(name)
	return l.show()
}

func (l location) show() schema.Location {
	return schema.Location{
		ID: l.id, Name: l.name, Description: l.city + " (" + l.name + ")", City: l.city, Country: l.country,
		NetworkZone: l.zone, Latitude: l.latitude, Longitude: l.longitude,
	}
}

// includedTraffic is in bytes a month: 20 TB in Europe, 1 TB overseas.
func includedTraffic(location string) uint64 {
	if l, _ := findLocation(location); l.zone == "eu-central" {
		return 20 << 40
	}
	return 1 << 40
}

// A serverType is a size of server.
type serverType struct {
	id           int64
	name         string
	cores        int
	memory       float32 // GB
	disk         int     // GB
	cpu          string
	architecture string
	monthly      float64 // euros, net
	locations    []string
}

// serverTypes are some of the vendor's: shared and dedicated cores, Intel, AMD and Arm.
// Prices are of the right order, and no more.
func serverTypes() []serverType {
	eu, us, sg := []string{"fsn1", "nbg1", "hel1"}, []string{"ash", "hil"}, []string{"sin"}
	overseas := slices.Concat(us, sg)
	everywhere := slices.Concat(eu, us, sg)
	return []serverType{
		{22, "cpx11", 2, 2, 40, "shared", "x86", 4.99, overseas},
		{23, "cpx21", 3, 4, 80, "shared", "x86", 8.99, overseas},
		{24, "cpx31", 4, 8, 160, "shared", "x86", 15.99, overseas},
		{25, "cpx41", 8, 16, 240, "shared", "x86", 29.99, overseas},
		{26, "cpx51", 16, 32, 360, "shared", "x86", 60.49, overseas},
		{45, "cax11", 2, 4, 40, "shared", "arm", 3.79, eu},
		{93, "cax21", 4, 8, 80, "shared", "arm", 6.49, eu},
		{96, "ccx13", 2, 8, 80, "dedicated", "x86", 12.49, everywhere},
		{97, "ccx23", 4, 16, 160, "dedicated", "x86", 24.49, everywhere},
		{98, "ccx33", 8, 32, 240, "dedicated", "x86", 48.49, everywhere},
		{108, "cpx12", 1, 2, 40, "shared", "x86", 5.99, slices.Concat(eu, sg)},
		{109, "cpx22", 2, 4, 80, "shared", "x86", 6.49, slices.Concat(eu, sg)},
		{110, "cpx32", 4, 8, 160, "shared", "x86", 10.99, slices.Concat(eu, sg)},
		{111, "cpx42", 8, 16, 320, "shared", "x86", 19.99, slices.Concat(eu, sg)},
		{114, "cx23", 2, 4, 40, "shared", "x86", 3.49, eu},
		{115, "cx33", 4, 8, 80, "shared", "x86", 5.49, eu},
		{116, "cx43", 8, 16, 160, "shared", "x86", 9.49, eu},
	}
}

func findType(t schema.IDOrName) (serverType, bool) {
	for _, have := range serverTypes() {
		if have.id == t.ID || t.ID == 0 && have.name == t.Name {
			return have, true
		}
	}
	return serverType{}, false
}

func typeNamed(name string) serverType {
	t, _ := findType(schema.IDOrName{Name: name})
	return t
}

func (c *call) showServerType(name string) schema.ServerType {
	t := typeNamed(name)
	v := schema.ServerType{
		ID: t.id, Name: t.name, Description: t.name, Category: t.cpu, Cores: t.cores, Memory: t.memory, Disk: t.disk,
		StorageType: "local", CPUType: t.cpu, Architecture: t.architecture,
		Prices: []schema.PricingServerTypePrice{}, Locations: []schema.ServerTypeLocation{},
	}
	euros := func(net float64) schema.Price {
		return schema.Price{Net: fmt.Sprintf("%.10f", net), Gross: fmt.Sprintf("%.10f", net*1.19)}
	}
	for _, name := range t.locations {
		l, _ := findLocation(name)
		v.Prices = append(v.Prices, schema.PricingServerTypePrice{
			Location: name, PriceHourly: euros(t.monthly / 624), PriceMonthly: euros(t.monthly),
			IncludedTraffic: includedTraffic(name), PricePerTBTraffic: euros(1),
		})
		at := [2]string{t.name, name}
		available := !c.unavailable[at] && !c.gone(at)
		sold := schema.ServerTypeLocation{ID: l.id, Name: name, Available: available, Recommended: available}
		if d, ok := c.deprecated[at]; ok {
			sold.Deprecation, sold.Recommended = &d, false
		}
		v.Locations = append(v.Locations, sold)
	}
	return v
}

// gone reports whether a type is not sold at a location any more.
func (c *call) gone(at [2]string) bool {
	d, ok := c.deprecated[at]
	return ok && !c.opts.Now().Before(d.UnavailableAfter)
}

// images are the systems that a server can be made with, each for both architectures.
func images() []schema.Image {
	var list []schema.Image
	size, created := float32(2.3), time.Date(2024, 4, 25, 13, 26, 27, 0, time.UTC)
	for i, system := range []struct{ flavor, version string }{{"ubuntu", "24.04"}, {"ubuntu", "22.04"}, {"debian", "12"}, {"debian", "13"}} {
		for j, arch := range []string{"x86", "arm"} {
			name := system.flavor + "-" + system.version
			list = append(list, schema.Image{
				ID: int64(161547000 + 10*i + j), Status: "available", Type: "system", Name: &name, Description: system.flavor + " " + system.version,
				ImageSize: &size, DiskSize: 5, Created: &created, OSFlavor: system.flavor, OSVersion: &system.version,
				Architecture: arch, RapidDeploy: true, Labels: map[string]string{},
			})
		}
	}
	return list
}

func findImage(i schema.IDOrName, architecture string) (schema.Image, bool) {
	for _, have := range images() {
		if have.Architecture == architecture && (have.ID == i.ID || i.ID == 0 && *have.Name == i.Name) {
			return have, true
		}
	}
	return schema.Image{}, false
}

// A row is an entry of the catalogue: it has an ID and a name like any resource.
type row struct {
	base
	show any
}

func catalogueRoutes(handle func(string, handler)) {
	kind := func(path, key, one, kind string, rows func(*call) table[*row]) {
		handle("GET /v1/"+path, func(c *call) (int, any, error) {
			return rows(c).list(c, key, func(r *row) any { return r.show })
		})
		handle("GET /v1/"+path+"/{id}", func(c *call) (int, any, error) {
			r, err := rows(c).ofCall(c, kind)
			if err != nil {
				return 0, nil, err
			}
			return http.StatusOK, map[string]any{one: r.show}, nil
		})
	}
	kind("locations", "locations", "location", "location", func(*call) table[*row] {
		var t table[*row]
		for _, l := range locations() {
			t = append(t, &row{base{id: l.id, name: l.name}, l.show()})
		}
		return t
	})
	kind("server_types", "server_types", "server_type", "server type", func(c *call) table[*row] {
		var t table[*row]
		for _, s := range serverTypes() {
			t = append(t, &row{base{id: s.id, name: s.name}, c.showServerType(s.name)})
		}
		return t
	})
	kind("images", "images", "image", "image", func(c *call) table[*row] {
		query := c.r.URL.Query()
		var t table[*row]
		for _, i := range images() {
			if query.Has("architecture") && !slices.Contains(query["architecture"], i.Architecture) ||
				cmp.Or(query.Get("type"), i.Type) != i.Type || cmp.Or(query.Get("status"), i.Status) != i.Status {
				continue
			}
			t = append(t, &row{base{id: i.ID, name: *i.Name, created: *i.Created}, i})
		}
		return t
	})
}
