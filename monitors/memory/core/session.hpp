// Session: one process monitor's use of this mComponent for one vNode: its objects, its ordered
// stream, its page QP (at most one at a time), its credits. net/schema/page.hpp is the protocol.
//
// What arrives here comes from a peer that proved the cluster key, but may still be wrong: nonsense
// ends the connection (violation), what merely cannot be done is refused and the stream goes on.
// Owned by MonitorCore; one shard.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <set>
#include <vector>

#include "monitors/memory/core/memory_object.hpp"
#include "net/schema/page.hpp"

namespace tessera::mmon {

class SessionOwner {
  public:
    virtual void revoke_answered(uint64_t id) = 0;
    virtual void stream_moved(Session& s) = 0; // executed has risen: parked fetches may go on
    virtual MemoryCounters& counts() = 0;

  protected:
    ~SessionOwner() = default;
};

class Session final : roce::QpEvents {
  public:
    Session(uint64_t id, VnodeId vnode, const rpc::Identity& peer, roce::Port& port, Ledger& ledger,
            SessionOwner& owner, const MemoryMonitorOptions& options);
    ~Session();

    const uint64_t id;
    const VnodeId vnode;
    const rpc::Identity peer;
    uint64_t ticket = 0; // 0: none valid

    Result<void> start(); // makes the protection domain
    schema::PageOpenReply open_reply() const;
    const std::deque<schema::PageRefused>& refused() const { return refused_; }

    // Sets up the page connection; an older one must be gone (drop_connection).
    Result<void> attach(roce::Incoming& request);
    void drop_connection();
    // Everything but the frames goes now; they go in free_some().
    void end();
    bool ended() const { return ended_; }
    bool free_some(uint64_t most); // true: nothing is left

    MemoryObject* object(ObjectId o);
    // The grant of the vRegion that holds `page`, registering it if need be. NotFound.
    Result<const Vregion*> grant(ObjectId object, uint64_t page);
    uint64_t executed() const { return executed_; }
    const std::map<uint64_t, Own<MemoryObject>>& objects() const { return objects_; }

    void note_file(FileId f);
    bool may_hold(FileId f) const { return holds_any_ || files_.contains(f.value); }
    void revoke(uint64_t id, FileId f, Generation g, PageNo first, uint64_t pages);

    // From Vregion.
    bool owns(const roce::Qp& qp) const { return &qp == qp_; }
    void execute_write(MemoryObject& object, uint64_t page, env::FrameNo frame);
    Ledger& ledger() { return ledger_; }
    void count_read() { owner_.counts().reads++; }

    void flush(); // sends what is due

  private:
    void on_sent(roce::Qp& qp, uint64_t id, roce::Status status) override;
    void on_received(roce::Qp& qp, const roce::Received& r) override;
    void on_disconnected(roce::Qp& qp, Error why) override;

    void execute(const schema::StreamOp& op);
    Result<void> run(const schema::StreamOp& op);
    void refuse(uint64_t sequence, Error why);
    void violation(const char* what);
    bool send(Bytes message);
    void forget_regions(MemoryObject& o);

    static constexpr size_t kSendBuffers = 16;
    struct SendBuffer {
        std::array<std::byte, schema::kMaxPageMessage> bytes;
        bool busy = false;
    };
    struct Due {
        ObjectId object;
        uint64_t page;
    };

    roce::Port& port_;
    Ledger& ledger_;
    Ledger::Account& account_;
    SessionOwner& owner_;
    MemoryMonitorOptions options_;
    roce::Pd pd_;
    roce::Qp* qp_ = nullptr;
    bool broken_ = false; // a violation: the QP goes at the next flush
    bool ended_ = false;

    std::map<uint64_t, Own<MemoryObject>> objects_;
    uint64_t executed_ = 0;
    uint64_t consumed_ = 0;
    uint64_t granted_ = 0;
    uint64_t returned_ = 0;
    uint64_t credits_ = 0;
    std::deque<schema::PageRefused> refused_; // the last ones, at most 4 windows
    uint64_t refusals_ = 0;                   // ever; refused_ holds the last of them
    uint64_t refusals_sent_ = 0;
    bool status_due_ = false;
    std::deque<Due> grants_due_;
    std::deque<schema::PageRevoke> revokes_; // unanswered
    size_t revokes_sent_ = 0;
    std::set<uint64_t> files_;
    bool holds_any_ = false;

    std::vector<std::array<std::byte, sizeof(schema::StreamOp)>> receive_;
    std::array<SendBuffer, kSendBuffers> send_;
};

} // namespace tessera::mmon
