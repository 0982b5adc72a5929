// Reservations: blocks set aside for data that homes have accepted but not yet written out
// (protocols.md section 6), so that an accepted write never finds the disk full. In memory only: a
// home says again how many it needs when it sees a new incarnation of the store.
//
// A write takes what it may use out of its home's account when it arrives (take); the blocks it
// then allocates are spent, what is left of a failed write goes back. total() counts both, so that
// nobody else allocates them meanwhile.
#pragma once

#include <map>
#include <vector>

#include "monitors/storage/core/types.hpp"

namespace tessera::storage {

class Reservations {
  public:
    uint64_t total() const { return total_; }
    uint64_t of(VnodeId vnode) const;
    uint64_t of(Holder holder, VnodeId vnode) const;

    void set(Holder holder, VnodeId vnode, uint64_t blocks);
    uint32_t take(Holder holder, VnodeId vnode, uint32_t most);
    // What was taken is allocated, or not wanted any more.
    void spend(VnodeId vnode, uint64_t blocks) { count(vnode, -static_cast<int64_t>(blocks)); }
    // What was spent has been given back to the allocator: it is taken again.
    void unspend(VnodeId vnode, uint64_t blocks) { count(vnode, static_cast<int64_t>(blocks)); }
    // What was taken goes back to its account; without one (the holder was fenced) it is free.
    void put_back(Holder holder, VnodeId vnode, uint64_t blocks);
    void fence(Holder holder); // this incarnation and older ones
    void forget(VnodeId vnode);

  private:
    struct Account {
        Holder holder;
        VnodeId vnode;
        uint64_t blocks;
    };
    Account* find(Holder holder, VnodeId vnode);
    void count(VnodeId vnode, int64_t change);

    std::vector<Account> accounts_;
    std::map<VnodeId, uint64_t> totals_;
    uint64_t total_ = 0;
};

} // namespace tessera::storage
