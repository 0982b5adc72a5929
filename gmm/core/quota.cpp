#include "gmm/core/quota.hpp"

#include <algorithm>
#include <tuple>

namespace tessera::gmm {

std::vector<size_t> MostFree::order(const std::vector<Pool>& pools) {
    std::vector<size_t> out;
    for (size_t i = 0; i < pools.size(); i++)
        out.push_back(i);
    std::sort(out.begin(), out.end(), [&](size_t a, size_t b) {
        return std::tuple(pools[b].free(), pools[a].node.value) <
               std::tuple(pools[a].free(), pools[b].node.value);
    });
    return out;
}

Pool* QuotaBook::pool(NodeId node) {
    for (auto& p : pools_)
        if (p.node == node) return &p;
    return nullptr;
}

void QuotaBook::set_pool(NodeId node, roce::Ipv4 ip, uint64_t pages) {
    Pool* p = pool(node);
    if (!p) {
        pools_.push_back({node});
        p = &pools_.back();
        for (auto& q : quotas_) // the database was read before the component came
            if (q.node == node) p->granted += q.pages;
    }
    p->ip = ip;
    p->pages = pages;
    p->usable = true;
}

void QuotaBook::set_usable(NodeId node, bool usable) {
    if (Pool* p = pool(node)) p->usable = usable;
}

void QuotaBook::remove_pool(NodeId node) {
    std::erase_if(pools_, [&](const Pool& p) { return p.node == node; });
    std::erase_if(quotas_, [&](const Quota& q) { return q.node == node; });
}

void QuotaBook::restore(VnodeId vnode, NodeId node, uint64_t pages) {
    for (auto& q : quotas_)
        if (q.vnode == vnode && q.node == node) {
            if (Pool* p = pool(node)) p->granted += pages - q.pages;
            q.pages = pages;
            return;
        }
    quotas_.push_back({vnode, node, pages});
    if (Pool* p = pool(node)) p->granted += pages;
}

uint64_t QuotaBook::total(VnodeId vnode) const {
    uint64_t sum = 0;
    for (auto& q : quotas_)
        if (q.vnode == vnode) sum += q.pages;
    return sum;
}

Result<std::vector<cluster::Home>> QuotaBook::grant(VnodeId vnode, uint64_t limit,
                                                    HomePolicy& policy) {
    auto have = homes(vnode);
    if (!have.empty()) return have;
    bool any = false;
    for (size_t i : policy.order(pools_)) {
        Pool& p = pools_[i];
        if (!p.usable) continue;
        any = true;
        // Half of what is left, so that the next vNode finds something too; the rest on request.
        uint64_t pages = p.free() / 2;
        uint64_t room = limit ? limit - std::min(limit, total(vnode)) : pages;
        pages = std::min(pages, room);
        if (pages == 0) continue;
        restore(vnode, p.node, pages);
        if (homes(vnode).size() == cluster::kMaxHomes) break;
    }
    have = homes(vnode);
    if (have.empty()) return Fail(any ? Error::NoMemory : Error::NoDevice);
    return have;
}

Result<uint64_t> QuotaBook::extend(VnodeId vnode, NodeId node, uint64_t more, uint64_t limit) {
    Pool* p = pool(node);
    if (!p || !p->usable) return Fail(Error::NotFound);
    uint64_t pages = std::min(more, p->free());
    if (limit) pages = std::min(pages, limit - std::min(limit, total(vnode)));
    if (pages == 0) return Fail(Error::NoSpace);
    uint64_t now = 0;
    for (auto& q : quotas_)
        if (q.vnode == vnode && q.node == node) now = q.pages;
    restore(vnode, node, now + pages);
    return now + pages;
}

void QuotaBook::release(VnodeId vnode) {
    for (auto& q : quotas_)
        if (q.vnode == vnode)
            if (Pool* p = pool(q.node)) p->granted -= q.pages;
    std::erase_if(quotas_, [&](const Quota& q) { return q.vnode == vnode; });
}

std::vector<cluster::Home> QuotaBook::homes(VnodeId vnode) const {
    std::vector<cluster::Home> out;
    for (auto& q : quotas_) {
        if (q.vnode != vnode) continue;
        for (auto& p : pools_)
            if (p.node == q.node && p.usable) out.push_back({q.node, p.ip, q.pages});
    }
    return out;
}

} // namespace tessera::gmm
