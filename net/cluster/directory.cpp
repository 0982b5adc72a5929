#include "net/cluster/directory.hpp"

#include <algorithm>

namespace tessera::cluster {

namespace {

template <typename T, typename Matches>
T* find(std::vector<T>& all, Matches matches) {
    for (T& t : all)
        if (matches(t)) return &t;
    return nullptr;
}

template <typename T, typename Same>
Result<void> put_in(std::vector<T>& all, const T& entry, bool remove, size_t limit, Same same) {
    T* known = find(all, same);
    if (remove) {
        if (known) all.erase(all.begin() + (known - all.data()));
        return {};
    }
    if (known) {
        *known = entry;
    } else {
        if (all.size() >= limit) return Fail(Error::Full);
        all.push_back(entry);
        known = &all.back();
    }
    known->seen = true;
    return {};
}

} // namespace

const Component* Directory::component(NodeId node) const {
    for (auto& c : components_)
        if (c.node == node) return &c;
    return nullptr;
}

const Component* Directory::component_at(roce::Ipv4 address) const {
    for (auto& c : components_)
        if (c.ip == address && c.state == ComponentState::Up) return &c;
    return nullptr;
}

const Vnode* Directory::vnode(VnodeId id) const {
    for (auto& v : vnodes_)
        if (v.id == id) return &v;
    return nullptr;
}

const Vnode* Directory::vnode_named(std::string_view name) const {
    for (auto& v : vnodes_)
        if (v.name.view() == name) return &v;
    return nullptr;
}

void Directory::begin(uint64_t lineage, bool restart) {
    if (restart || lineage != lineage_) {
        restarting_ = true;
        for (auto& c : components_)
            c.seen = false;
        for (auto& v : vnodes_)
            v.seen = false;
    }
    lineage_ = lineage;
}

Result<void> Directory::put(const Component& c) {
    return put_in(components_, c, c.state == ComponentState::Left, kMaxComponents,
                  [&](const Component& x) { return x.node == c.node; });
}

Result<void> Directory::put(const Vnode& v) {
    return put_in(vnodes_, v, v.state == VnodeState::Removed, kMaxVnodes,
                  [&](const Vnode& x) { return x.id == v.id; });
}

void Directory::end(DirectoryVersion version, bool more) {
    version_ = version;
    if (more || !restarting_) return;
    restarting_ = false;
    std::erase_if(components_, [](const Component& c) { return !c.seen; });
    std::erase_if(vnodes_, [](const Vnode& v) { return !v.seen; });
}

} // namespace tessera::cluster
