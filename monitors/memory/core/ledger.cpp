#include "monitors/memory/core/ledger.hpp"

#include <algorithm>

namespace tessera::mmon {

namespace {
constexpr size_t kHolds = 128;
}

Ledger::Ledger(env::FramePool& pool, PageProvider* provider, const MemoryMonitorOptions& options)
    : pool_(pool),
      provider_(provider),
      window_(options.window),
      reserve_(options.reserve_frames),
      holds_(kHolds) {
    for (Hold& h : holds_)
        h.ledger = this;
}

const Ledger::Account* Ledger::find(VnodeId v) const {
    auto it = accounts_.find(v.value);
    return it == accounts_.end() ? nullptr : &it->second;
}

Result<env::FrameNo> Ledger::transit_frame() {
    auto f = pool_.allocate();
    if (f || !provider_ || provider_->reclaim(1) == 0) return f;
    return pool_.allocate();
}

uint64_t Ledger::grant(Account& a, uint64_t want) {
    uint64_t in_use = a.frames + a.credits;
    want = std::min(want, a.quota > in_use ? a.quota - in_use : 0);
    uint64_t bound = promised() + reserve_;
    uint64_t free = pool_.counts().free;
    if (want && free < bound + want && provider_) {
        provider_->reclaim(bound + want - free);
        free = pool_.counts().free;
    }
    want = std::min(want, free > bound ? free - bound : 0);
    a.credits += want;
    credits_ += want;
    return want;
}

void Ledger::drop_credits(Account& a, uint64_t n) {
    ASSERT(a.credits >= n);
    a.credits -= n;
    credits_ -= n;
}

void Ledger::consume_credit(Account& a) {
    drop_credits(a, 1);
    a.frames++;
    frames_++;
}

uint32_t Ledger::users(env::FrameNo f) const {
    uint32_t n = pool_.shares(f);
    if (n > 1 && lent_ > 0)
        for (const Hold& h : holds_)
            if (h.frame == f) n--;
    return n;
}

void Ledger::drop(Account& a, env::FrameNo f) {
    if (users(f) == 1) {
        a.frames--;
        frames_--;
    }
    pool_.release(f);
}

net::TxHold* Ledger::lend(env::FrameNo f) {
    if (lent_ == holds_.size()) return nullptr;
    for (Hold& h : holds_) {
        if (h.frame) continue;
        h.frame = f;
        pool_.share(f);
        lent_++;
        return &h;
    }
    return nullptr;
}

void Ledger::Hold::transmitted() {
    env::FrameNo f = frame;
    frame = {};
    ledger->lent_--;
    ledger->pool_.release(f);
}

} // namespace tessera::mmon
