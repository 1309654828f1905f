package placement

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/bits"
)

// A digest stands for a set of nodes: the sum of their SHA-256 hashes, modulo 2^256.
// A sum does not depend on the order, and a node can be taken out of it again.
type digest [4]uint64

func (d digest) plus(e digest) digest {
	var carry uint64
	for i := range d {
		d[i], carry = bits.Add64(d[i], e[i], carry)
	}
	return d
}

func (d digest) minus(e digest) digest {
	var borrow uint64
	for i := range d {
		d[i], borrow = bits.Sub64(d[i], e[i], borrow)
	}
	return d
}

// digestOf is the digest of n alone.
func digestOf(n Node, fresh bool) digest {
	var buf [192]byte // more than the longest node_id that the API takes
	m := percentage(n.MemoryPct)
	b := append(buf[:0], flags(n.Active, n.Dedicated, fresh, m != nil))
	b = binary.LittleEndian.AppendUint64(b, uint64(n.Tenants))
	if m != nil {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(*m))
	}
	h := sha256.Sum256(append(b, n.ID...))
	var d digest
	for i := range d {
		d[i] = binary.LittleEndian.Uint64(h[8*i:])
	}
	return d
}

func flags(list ...bool) (b byte) {
	for i, on := range list {
		if on {
			b |= 1 << i
		}
	}
	return b
}

// snapshotHash is what [Decision.Snapshot] says; sum is of the nodes of the region.
func snapshotHash(d Decision, sum digest) string {
	var buf [192]byte
	b := append(buf[:0], Algorithm...)
	b = append(b, flags(d.Placement.Dedicated))
	if !d.Placement.Dedicated {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(d.Thresholds.MemoryPctMax))
		b = binary.LittleEndian.AppendUint64(b, uint64(d.Thresholds.MaxTenantsPerNode))
		b = binary.LittleEndian.AppendUint64(b, uint64(d.Thresholds.MetricsMaxAge))
		b = binary.LittleEndian.AppendUint64(b, uint64(d.Cluster.Nodes))
		for _, word := range sum {
			b = binary.LittleEndian.AppendUint64(b, word)
		}
	}
	h := sha256.Sum256(append(b, d.Region...))
	return hex.EncodeToString(h[:16])
}
