#include "monitors/storage/core/reservations.hpp"

#include <algorithm>

#include "base/assert.hpp"

namespace tessera::storage {

Reservations::Account* Reservations::find(Holder holder, VnodeId vnode) {
    for (Account& a : accounts_)
        if (a.holder == holder && a.vnode == vnode) return &a;
    return nullptr;
}

uint64_t Reservations::of(VnodeId vnode) const {
    auto at = totals_.find(vnode);
    return at == totals_.end() ? 0 : at->second;
}

uint64_t Reservations::of(Holder holder, VnodeId vnode) const {
    Account* a = const_cast<Reservations*>(this)->find(holder, vnode);
    return a ? a->blocks : 0;
}

void Reservations::count(VnodeId vnode, int64_t change) {
    if (change == 0) return;
    uint64_t& sum = totals_[vnode];
    sum += static_cast<uint64_t>(change);
    total_ += static_cast<uint64_t>(change);
    ASSERT(static_cast<int64_t>(sum) >= 0 && static_cast<int64_t>(total_) >= 0);
    if (sum == 0) totals_.erase(vnode);
}

void Reservations::set(Holder holder, VnodeId vnode, uint64_t blocks) {
    Account* a = find(holder, vnode);
    if (!a) a = &accounts_.emplace_back(Account{holder, vnode, 0});
    count(vnode, static_cast<int64_t>(blocks - a->blocks));
    a->blocks = blocks;
}

uint32_t Reservations::take(Holder holder, VnodeId vnode, uint32_t most) {
    Account* a = find(holder, vnode);
    if (!a) return 0;
    auto taken = static_cast<uint32_t>(std::min<uint64_t>(most, a->blocks));
    a->blocks -= taken;
    return taken;
}

void Reservations::put_back(Holder holder, VnodeId vnode, uint64_t blocks) {
    if (Account* a = find(holder, vnode))
        a->blocks += blocks;
    else
        spend(vnode, blocks);
}

void Reservations::fence(Holder holder) {
    std::erase_if(accounts_, [&](const Account& a) {
        bool dead =
            a.holder.node == holder.node && a.holder.incarnation.value <= holder.incarnation.value;
        if (dead) spend(a.vnode, a.blocks);
        return dead;
    });
}

void Reservations::forget(VnodeId vnode) {
    std::erase_if(accounts_, [&](const Account& a) {
        if (a.vnode == vnode) spend(vnode, a.blocks);
        return a.vnode == vnode;
    });
}

} // namespace tessera::storage
