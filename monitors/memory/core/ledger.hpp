// Ledger: what the page service counts. Frames in objects and credits promised, per vNode and in
// all, against quota and against the pool. Also lends frames to READ responses on the wire.
//
// Invariant: for a vNode frames + credits <= quota at every grant; credits are only granted while
// the pool has a free frame for each one, plus a window per session, plus a reserve. Owned by
// MemoryMonitor; one shard.
#pragma once

#include <map>
#include <vector>

#include "monitors/env/frames.hpp"
#include "monitors/memory/core/memory_monitor.hpp"
#include "net/link/link.hpp"

namespace tessera::mmon {

class Ledger {
  public:
    Ledger(env::FramePool& pool, PageProvider* provider, const MemoryMonitorOptions& options);

    struct Account {
        uint64_t quota = 0;
        uint64_t frames = 0;
        uint64_t credits = 0;
        uint32_t sessions = 0;
    };
    Account& account(VnodeId v) { return accounts_[v.value]; }
    const Account* find(VnodeId v) const;

    // A frame for a write on its way in. NoMemory.
    Result<env::FrameNo> transit_frame();
    // How many of `want` credits may be promised now; they are.
    uint64_t grant(Account& a, uint64_t want);
    void drop_credits(Account& a, uint64_t n);
    void consume_credit(Account& a); // it became a frame

    // One object's use of a frame. share adds a user; drop takes one away and says so to the
    // account with the last one.
    void share(env::FrameNo f) { pool_.share(f); }
    void drop(Account& a, env::FrameNo f);
    // Users other than READ responses.
    uint32_t users(env::FrameNo f) const;

    // Keeps the frame until the response has left; null: too many, let the port copy.
    net::TxHold* lend(env::FrameNo f);

    env::FramePool& pool() { return pool_; }
    void session_opened() { sessions_++; }
    void session_closed() { sessions_--; }
    uint64_t promised() const { return credits_ + static_cast<uint64_t>(sessions_) * window_; }
    uint64_t credits() const { return credits_; }
    uint64_t frames() const { return frames_; }

  private:
    struct Hold final : net::TxHold {
        Ledger* ledger = nullptr;
        env::FrameNo frame;
        void transmitted() override;
    };

    env::FramePool& pool_;
    PageProvider* provider_;
    uint64_t window_;
    uint64_t reserve_;
    std::map<uint32_t, Account> accounts_;
    std::vector<Hold> holds_;
    uint32_t lent_ = 0;
    uint32_t sessions_ = 0;
    uint64_t credits_ = 0;
    uint64_t frames_ = 0;
};

} // namespace tessera::mmon
