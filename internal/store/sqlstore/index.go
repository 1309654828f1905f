package sqlstore

import (
	"context"
	"sync"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// An index holds the nodes as placement sees them, twice: as they are committed, and as
// they are in the transaction that is under way. Both are brought up to date node by node.
type index struct {
	mu        sync.Mutex
	committed *placement.Index
	seq       int64 // of the last turn that is in committed

	// The writer's.
	next    *placement.Index
	nextSeq int64           // of the last turn that is in next, and committed
	touched map[string]bool // what the transaction has changed of next

	looking sync.Mutex // held by whoever looks at the database
	waiting *look      // the look that has not begun yet; nil when nobody waits
}

// placeable reads nodes as placement sees them. A job is on its way to the node that it
// targets, or to the one that it registered itself. A tenant that is there already is not
// counted again.
const placeable = `SELECT n.node_id, n.region, n.status, n.dedicated, n.changed_seq, m.memory_pct, m.updated_at, coalesce(m.tenant_count, 0),
	(SELECT count(*) FROM tenants_master t WHERE t.node_id = n.node_id AND t.node_id <> ''),
	(SELECT count(*) FROM provision_jobs j WHERE ` + onItsWay + ` AND j.target_server_id = n.node_id) +
	(SELECT count(*) FROM provision_jobs j WHERE ` + onItsWay + ` AND j.job_id = n.job_id AND j.target_server_id <> n.node_id)
	FROM nodes n LEFT JOIN server_metrics m ON m.node_id = n.node_id `

// onItsWay is asked twice: each way to find a job has an index of its own.
const onItsWay = `j.status IN ('Pending', 'Dispatched', 'Running') AND j.ended_at IS NULL
		AND NOT EXISTS (SELECT 1 FROM tenants_master t WHERE t.tenant_id = j.tenant_id AND t.node_id = n.node_id)`

// A changedNode is a node, and when it has changed.
type changedNode struct {
	placement.Node
	seq int64
}

func scanPlaceable(r Rows) (n changedNode, err error) {
	var status provision.NodeStatus
	var dedicated, counted, arrived, coming int
	err = r.Scan(&n.ID, &n.Region, &status, &dedicated, &n.seq, &n.MemoryPct, into{&n.MetricsAt}, &counted, &arrived, &coming)
	n.Active = status == provision.NodeActive
	n.Dedicated = dedicated == 1
	n.Tenants = max(counted, arrived) + coming
	return n, err
}

// read reads every node.
func (x *index) read(ctx context.Context, q Queryer) error {
	x.nextSeq = -1 // of a node that has never changed it is 0
	list, err := all(ctx, q, placeable, nil, scanPlaceable)
	for _, n := range list {
		x.next.Put(n.Node)
		x.committed.Put(n.Node)
		x.nextSeq = max(x.nextSeq, n.seq)
	}
	x.seq = x.nextSeq
	return err
}

// begin brings the index up to what was committed before the turn seq, by whomever.
func (x *index) begin(ctx context.Context, tx Tx, seq int64) error {
	if seq == x.nextSeq+1 {
		return nil
	}
	list, err := all(ctx, tx, placeable+"WHERE n.changed_seq > $1", []any{x.nextSeq}, scanPlaceable)
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, n := range list {
		x.next.Put(n.Node)
		x.committed.Put(n.Node)
	}
	x.nextSeq = seq - 1
	x.seq = max(x.seq, x.nextSeq)
	return nil
}

// put changes a node in the transaction that is under way.
func (x *index) put(n placement.Node) {
	x.touched[n.ID] = true
	x.next.Put(n)
}

// add counts one more tenant on a node in the transaction that is under way.
func (x *index) add(id string) {
	x.touched[id] = true
	x.next.AddTenants(id, 1)
}

// commit makes what the transaction of turn seq has changed visible.
func (x *index) commit(seq int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id := range x.touched {
		if n, ok := x.next.Node(id); ok && x.seq < seq {
			x.committed.Put(n)
		}
	}
	clear(x.touched)
	x.nextSeq = seq
	x.seq = max(x.seq, seq)
}

// rollback undoes what the transaction has changed.
func (x *index) rollback() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id := range x.touched {
		if n, ok := x.committed.Node(id); ok {
			x.next.Put(n)
		} else {
			x.next.Remove(id)
		}
	}
	clear(x.touched)
}

// A look at the database serves everybody who has asked before it begins.
type look struct {
	done chan struct{}
	err  error
}

// ask brings committed up to what other processes have committed before the call.
func (x *index) ask(ctx context.Context, q Queryer) error {
	x.mu.Lock()
	l := x.waiting
	if l != nil { // somebody is about to look
		x.mu.Unlock()
		select {
		case <-l.done:
			return l.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	l = &look{done: make(chan struct{})}
	x.waiting = l
	x.mu.Unlock()

	x.looking.Lock()
	defer x.looking.Unlock()
	defer close(l.done)
	x.mu.Lock()
	x.waiting = nil
	seq := x.seq
	x.mu.Unlock()
	// Others wait for the answer, too, when ctx is done.
	list, err := all(context.WithoutCancel(ctx), q, placeable+"WHERE n.changed_seq > $1", []any{seq}, scanPlaceable)
	l.err = err
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, n := range list {
		if n.seq > x.seq { // otherwise our own writer was here meanwhile
			x.committed.Put(n.Node)
			seq = max(seq, n.seq)
		}
	}
	x.seq = max(x.seq, seq)
	return err
}
