// MemoryObject: the pages of one private or shared memory object that this mComponent holds, and
// the vRegions of it that are registered with the port. Owned by a Session.
#pragma once

#include <vector>

#include "base/page_radix.hpp"
#include "monitors/memory/core/ledger.hpp"
#include "net/roce/verbs.hpp"

namespace tessera::mmon {

class Session;

// Page numbers of private objects are user addresses / 4096; nothing is above this.
inline constexpr uint64_t kPageLimit = 1ull << 36;

class MemoryObject;

// The RDMA face of one vRegion: the rkey reaches these pages and no others.
class Vregion final : public roce::RegionBackend {
  public:
    Vregion(Session& session, MemoryObject& object, uint64_t base, uint64_t length)
        : session_(session), object_(object), base(base), length(length) {}

    Result<ReadPiece> read(roce::Qp& qp, uint64_t address, size_t length) override;
    Result<WriteTarget> begin_write(roce::Qp& qp, uint64_t address, size_t length) override;
    Result<void> finish_write(roce::Qp& qp, uint64_t token,
                              std::optional<uint32_t> immediate) override;
    void abort_write(roce::Qp& qp, uint64_t token) override;
    void forget_write(); // the connection is gone

  private:
    Session& session_;
    MemoryObject& object_;
    // A QP gathers one write at a time: packets of a message are never mixed with another's.
    uint64_t gathering_page_ = 0;
    env::FrameNo gathering_;

  public:
    uint64_t base;   // bytes
    uint64_t length; // bytes
    roce::Rkey rkey;
    OwnershipEpoch epoch{1};
};

class MemoryObject {
  public:
    MemoryObject(ObjectId id, Ledger& ledger, Ledger::Account& account)
        : id(id), ledger_(ledger), account_(account) {}
    ~MemoryObject();
    MemoryObject(const MemoryObject&) = delete;
    MemoryObject& operator=(const MemoryObject&) = delete;

    env::FrameNo frame(uint64_t page) const { return env::FrameNo(pages_.get(page)); }
    // Swaps a gathered frame in. Takes it over if Ok. NoMemory: it needs a credit and there is
    // none. `credits` is the session's balance; it is reduced if one was consumed.
    Result<void> swap_in(uint64_t page, env::FrameNo frame, uint64_t& credits);
    void discard(uint64_t first, uint64_t pages);
    // At most `most` pages; true if nothing is left.
    bool discard_some(uint64_t most);
    void share_all_from(MemoryObject& parent);
    void share_page_from(MemoryObject& from, uint64_t page, uint64_t to);
    void move(uint64_t first, uint64_t pages, uint64_t to);
    uint64_t pages() const { return pages_.size(); }

    const ObjectId id;
    std::vector<Own<Vregion>> regions;

  private:
    void replace(uint64_t page, env::FrameNo frame);

    Ledger& ledger_;
    Ledger::Account& account_;
    PageRadix pages_;
};

} // namespace tessera::mmon
