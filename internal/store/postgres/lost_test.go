package postgres_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/pregoi/provision-tenant/internal/postgrestest"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// lostAnswers breaks the connection at a COMMIT, before or after its effect: what is
// answered is what is stored, once.
func lostAnswers(t *testing.T, s *postgrestest.Server, database string) {
	direct, err := url.Parse(s.Address(database))
	if err != nil {
		t.Fatal(err)
	}
	line := listen(t, direct.Host)
	through := *direct
	through.Host = line.address
	db := open(t, through.String())
	look := open(t, direct.String())
	for i, arrives := range []bool{false, true, false, true} {
		tenant := fmt.Sprint("tenant", i)
		o := order(tenant)
		if i >= 2 {
			o = keyed(tenant)
		}
		line.cut(arrives)
		r, err := db.Enqueue(t.Context(), o)
		if err != nil || r.Replayed || r.Job.ID != o.JobID {
			t.Errorf("arrives=%t: %+v, %v", arrives, r, err)
		}
		if !line.was.Load() {
			t.Error("the connection was not broken")
		}
		if j, err := look.Job(t.Context(), o.JobID); err != nil || j.Status != provision.JobPending {
			t.Errorf("arrives=%t: the job is %+v, %v", arrives, j, err)
		}
		if list, err := look.Audit(t.Context(), o.JobID); err != nil || len(list) != 1 {
			t.Errorf("arrives=%t: %d entries, %v", arrives, len(list), err)
		}
		id := fmt.Sprint("n", i)
		line.cut(arrives)
		if created, err := db.PutNode(t.Context(), node(id), ""); err != nil || !created {
			t.Errorf("arrives=%t: PutNode = %t, %v", arrives, created, err)
		}
		if got, want := placed(t, db), placed(t, look); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("arrives=%t: in memory %v, in the tables %v", arrives, got, want)
		}
	}
	// Where nobody can be asked, the caller is told so, and its key finds what became of it.
	line.cut(true)
	line.down.Store(true)
	_, err = db.Enqueue(t.Context(), keyed("doubt"))
	wantClass(t, "a commit that nobody knows of", err, provision.Busy)
	line.down.Store(false)
	if r, err := db.Enqueue(t.Context(), keyed("doubt")); err != nil || !r.Replayed {
		t.Errorf("the same again: %+v, %v", r, err)
	}
	if list, err := look.Jobs(t.Context(), store.Filter{}); err != nil || len(list) != 5 {
		t.Errorf("%d jobs, %v, want 5", len(list), err)
	}
}

// A cable leads to a server, and can break.
type cable struct {
	t           *testing.T
	address, to string
	when        atomic.Int32 // a COMMIT breaks it: 1 before, 2 after it has arrived
	was         atomic.Bool  // broken so
	down        atomic.Bool  // nobody can connect
}

func listen(t *testing.T, to string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // nobody connects any more
	c := &cable{t: t, address: l.Addr().String(), to: to}
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go c.carry(from)
		}
	}()
	return c
}

// cut breaks the connection on which the next COMMIT is sent.
func (c *cable) cut(arrives bool) {
	c.was.Store(false)
	c.when.Store(1)
	if arrives {
		c.when.Store(2)
	}
}

func (c *cable) carry(client net.Conn) {
	defer client.Close()
	if c.down.Load() {
		return
	}
	server, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(client, server) // until one of them is closed
		_ = client.Close()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		when := int32(0)
		if bytes.Contains(buf[:n], []byte("commit\x00")) {
			when = c.when.Swap(0)
		}
		if when > 0 {
			c.was.Store(true)
			_ = client.Close()
		}
		if when == 1 {
			return
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
		if when == 2 { // the server is done when it has noticed that we are
			if err := server.(*net.TCPConn).CloseWrite(); err != nil {
				c.t.Error(err)
			}
			if _, err := io.Copy(io.Discard, server); err != nil && !errors.Is(err, net.ErrClosed) {
				c.t.Error(err)
			}
			return
		}
	}
}
