package postgresledger_test

import (
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// lostAnswer has Save answer as it was, also when the connection breaks before the server has said so.
func lostAnswer(t *testing.T, address string) {
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		arrives bool // the statement reaches the server
		others  int  // how often others save the job before we can look
		want    bool
		class   provision.Class
	}{
		"before the effect":                         {false, 0, true, ""},
		"after the effect":                          {true, 0, true, ""},
		"before the effect, and others come first":  {false, 1, false, ""},
		"after the effect, and others come after":   {true, 1, false, provision.Busy},
		"before the effect, and others come twice":  {false, 2, false, provision.Busy},
		"after the effect, and others come after 2": {true, 2, false, provision.Busy},
	} {
		t.Run(name, func(t *testing.T) {
			direct := open(t, address)
			line := &cable{t: t, to: u.Host}
			l := open(t, strings.Replace(address, u.Host, line.listen(), 1))
			r := dispatch.Record{JobID: name, State: dispatch.Waiting}
			for range 3 { // the statement is prepared, and the connection is the one that breaks
				if ok, err := l.Save(t.Context(), r); !ok || err != nil {
					t.Fatal(ok, err)
				}
				r.Version++
			}
			line.cut(test.arrives, func() {
				other := r
				if test.arrives {
					other.Version++
				}
				for range test.others {
					if ok, err := direct.Save(t.Context(), other); !ok || err != nil {
						t.Error(ok, err)
					}
					other.Version++
				}
			})
			r.State = dispatch.Sending
			ok, err := l.Save(t.Context(), r)
			if ok != test.want || provision.ClassOf(err) != test.class {
				t.Errorf("Save = %t, %v; want %t, %s", ok, err, test.want, test.class)
			}
			got, err := direct.Load(t.Context(), r.JobID)
			if err != nil || ok && (got.State != dispatch.Sending || got.Version != r.Version+1) {
				t.Errorf("the record is %+v, %v", got, err)
			}
			if !line.done() {
				t.Error("the connection was not cut")
			}
		})
	}
}

// A cable leads to the server, and breaks once, at the next statement after cut.
type cable struct {
	t  *testing.T
	to string

	mu      sync.Mutex
	armed   bool
	broken  bool
	arrives bool
	then    func()
}

// listen returns the address at which the cable begins.
func (c *cable) listen() string {
	c.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	var wg sync.WaitGroup
	c.t.Cleanup(func() {
		_ = l.Close() // it ends the loop below
		wg.Wait()
	})
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { c.connect(client) })
		}
	})
	return l.Addr().String()
}

func (c *cable) cut(arrives bool, then func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed, c.arrives, c.then = true, arrives, then
}

func (c *cable) done() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

// breaks reports whether this is the statement at which the cable breaks.
func (c *cable) breaks() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.armed && !c.broken
	c.broken = c.broken || now
	return now
}

func (c *cable) connect(client net.Conn) {
	server, err := net.Dial("tcp", c.to)
	if err != nil {
		c.t.Error(err)
		_ = client.Close()
		return
	}
	var mute atomic.Bool
	answered := make(chan struct{})
	var back sync.WaitGroup
	back.Go(func() {
		buffer := make([]byte, 64<<10)
		for {
			n, err := server.Read(buffer)
			if mute.Load() {
				close(answered)
				return
			}
			if _, e := client.Write(buffer[:n]); err != nil || e != nil {
				_ = client.Close() // it ends the loop below
				return
			}
		}
	})
	defer back.Wait()
	defer client.Close()
	defer server.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		cut := c.breaks()
		mute.Store(cut)
		if !cut || c.arrives {
			if _, err := server.Write(buffer[:n]); err != nil {
				return
			}
		}
		if cut {
			if c.arrives {
				<-answered
			}
			c.then()
			return
		}
	}
}
