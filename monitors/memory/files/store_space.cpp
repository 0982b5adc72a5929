// Blocks of the store for what is accepted here: asking for them, and giving them back.
#include <algorithm>

#include "base/log.hpp"
#include "monitors/memory/files/file_home.hpp"
#include "monitors/memory/files/home_operation.hpp"

namespace tessera::mmon {

using namespace schema;

// Asks the store for `more` blocks than are held. Returns the number of the request that covers it.
uint64_t FileHome::ask_space(VnodeId vnode, uint64_t more) {
    StoreSpace& s = spaces_[vnode];
    s.wanted = std::max(s.wanted, more);
    if (s.asking) return s.asked + 1;
    uint64_t extra = std::clamp(s.backed / 2, StoreSpace::kAtLeast, StoreSpace::kAtMost);
    uint64_t wanted = std::exchange(s.wanted, 0);
    send_space(vnode, std::max(s.backed, s.used) + (wanted ? wanted + extra : 0));
    return s.asked;
}

void FileHome::send_space(VnodeId vnode, uint64_t blocks) {
    StoreSpace& s = spaces_[vnode];
    s.asked++;
    s.asking = true;
    s.doubtful = false;
    StoreReserve h;
    h.vnode = vnode.value;
    h.blocks = blocks;
    auto answered = [this, vnode, before = s.backed](Result<Bytes> r) {
        StoreSpace& s = spaces_[vnode];
        s.asking = false;
        s.answered++;
        s.failed = !r || r->size() < sizeof(StoreReserved);
        if (s.failed) {
            s.error = r ? Error::Malformed : r.error();
            s.doubtful = true;
            retry_space_at_ = clock_.now() + kWriteOutDelay;
        } else {
            s.backed += load<StoreReserved>(*r).blocks - before; // may be less than before
            if (static_cast<int64_t>(s.backed) < 0) s.backed = 0;
        }
        if (s.wanted) ask_space(vnode, s.wanted);
        wake_for_space(vnode);
    };
    Result<rpc::Peer*> store = node_.peer(stores_[vnode]);
    if (!store) return answered(std::unexpected(store.error()));
    (*store)->call(kStoreReserve, bytes_of(h), {}, store_call(), std::move(answered));
}

void FileHome::wake_for_space(VnodeId vnode) {
    for (FileKey key : std::exchange(spaces_[vnode].waiting, {}))
        if (CachedFile* f = find(key)) wake(*f, {}, false);
}

// How many of the `need` blocks the operation may use: all of them, or fewer if the store has no
// more even after everything dirty has been written out, which finds what is gone and frees what is
// overwritten. False: wait.
Result<bool> FileHome::need_space(HomeOperation& op, uint64_t need, uint64_t& room) {
    using Step = HomeOperation::SpaceStep;
    VnodeId vnode = op.file->key.vnode;
    StoreSpace& s = spaces_[vnode];
    room = std::min(need, s.available());
    if (room == need) return true;
    auto wait = [&] {
        if (std::find(s.waiting.begin(), s.waiting.end(), op.file->key) == s.waiting.end())
            s.waiting.push_back(op.file->key);
        return false;
    };
    if (op.space == Step::None) {
        op.space = Step::Asked;
        op.space_request = ask_space(vnode, need - room);
    }
    if (op.space == Step::Asked) {
        if (s.answered < op.space_request) return wait();
        if (s.failed) return std::unexpected(s.error);
        op.space = Step::WritingOut;
        op.space_change = change_;
        for (auto& [key, f] : files_)
            if (key.vnode == vnode && f->dirty()) want_write_out(*f);
    }
    if (op.space == Step::WritingOut) {
        for (auto& [key, f] : files_)
            if (key.vnode == vnode && f->write_upto && older_dirty(*f, op.space_change))
                return wait();
        op.space = Step::AskedAgain;
        op.space_request = ask_space(vnode, need - std::min(need, s.available()));
    }
    if (s.answered < op.space_request) return wait();
    if (s.failed) return std::unexpected(s.error);
    return true;
}

// Page becomes dirty: it takes a block, if there is one.
void FileHome::reserve(const CachedFile& f, CachedPage& page) {
    if (std::exchange(page.reserved, true)) return;
    StoreSpace& s = spaces_[f.key.vnode];
    s.used++;
    s.unused_since = kNever;
}

void FileHome::unreserve(const CachedFile& f, CachedPage& page) {
    if (!std::exchange(page.reserved, false)) return;
    spaces_[f.key.vnode].used--;
}

// Accounts that are doubtful are set right; what has not been used for a while goes back.
void FileHome::poll_space() {
    Nanos now = clock_.now();
    for (auto& [vnode, s] : spaces_) {
        Result<rpc::Peer*> store = node_.peer(stores_[vnode]);
        if (store && (*store)->identity().incarnation != s.store) {
            if (s.store) forgotten_by_store(vnode);
            s.store = (*store)->identity().incarnation;
        }
        if (s.asking) continue;
        if (s.doubtful) {
            if (!s.failed || now >= retry_space_at_) send_space(vnode, std::max(s.backed, s.used));
        } else if (s.used == 0 && s.backed > 0) {
            if (s.unused_since == kNever) s.unused_since = now;
            if (now >= s.unused_since + StoreSpace::kKeep) send_space(vnode, 0);
        } else if (s.available() > 2 * StoreSpace::kAtMost) {
            send_space(vnode, s.used + StoreSpace::kAtLeast);
        }
    }
}

// The store has started again: it knows neither what is set aside nor who has newer data.
void FileHome::forgotten_by_store(VnodeId vnode) {
    spaces_[vnode].doubtful = true;
    for (auto& [key, f] : files_)
        if (key.vnode == vnode && std::exchange(f->held, false)) take_hold(*f);
}

Nanos FileHome::next_space_deadline() const {
    Nanos next = kNever;
    for (auto& [vnode, s] : spaces_) {
        if (s.asking) continue;
        if (s.doubtful)
            next = std::min(next, s.failed ? retry_space_at_ : Nanos{});
        else if (s.used == 0 && s.backed > 0)
            next = std::min(
                next, s.unused_since == kNever ? Nanos{} : s.unused_since + StoreSpace::kKeep);
        else if (s.available() > 2 * StoreSpace::kAtMost)
            next = Nanos{};
    }
    return next;
}

} // namespace tessera::mmon
