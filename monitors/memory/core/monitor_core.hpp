// MonitorCore: the MemoryMonitor. Sessions, RPC handlers, parked fetches, revocations, fencing.
// Private to this folder; memory_monitor.hpp is the interface.
#pragma once

#include <deque>
#include <map>
#include <vector>

#include "monitors/memory/core/session.hpp"

namespace tessera::mmon {

class MonitorCore final : public MemoryMonitor, roce::Listener, SessionOwner {
  public:
    MonitorCore(roce::Port& port, rpc::Node& node, env::FramePool& frames, Clock& clock,
                Random& random, PageProvider* provider, const MemoryMonitorOptions& options);
    ~MonitorCore() override;
    Result<void> start(rpc::Node& node);

    void set_quota(VnodeId vnode, uint64_t pages) override;
    void fence(NodeId node, Incarnation incarnation) override;
    void remove_vnode(VnodeId vnode) override;
    void revoke_file(VnodeId vnode, FileId file, Generation generation, PageNo first,
                     uint64_t pages, NodeId except, Function<void(), 64> done) override;
    bool poll() override;
    Nanos next_deadline() const override;
    uint64_t promised_frames() const override { return ledger_.promised(); }
    MemoryCounters counters() const override;
    VnodeMemoryUse use(VnodeId vnode) const override;
    void inventory(Function<void(const InventoryEntry&), 64> visit) const override;

  private:
    struct Parked {
        uint64_t session;
        schema::PageFetchRequest request;
        Nanos deadline;
        rpc::Responder responder;
    };
    // A fetch of file pages that waits for the provider.
    struct FileFetch {
        schema::PageFetchRequest request;
        std::array<Result<FilePage>, schema::kMaxFetchPages> pages;
        uint32_t missing = 0;
        rpc::Responder responder;
    };
    struct Revocation {
        uint32_t missing = 0;
        Function<void(), 64> done;
    };

    void on_incoming(roce::Incoming& request) override;
    void revoke_answered(uint64_t id) override;
    void stream_moved(Session& s) override;
    MemoryCounters& counts() override { return counters_; }

    void open(const rpc::Identity& caller, Bytes request, rpc::Responder r);
    void fetch(const rpc::Identity& caller, Bytes request, rpc::Responder r);
    void store(const rpc::Identity& caller, Bytes request, rpc::Responder r);
    void close(const rpc::Identity& caller, Bytes request, rpc::Responder r);
    void answer_fetch(Session& s, const schema::PageFetchRequest& q, rpc::Responder& r);
    void fetch_file(Session& s, const schema::PageFetchRequest& q, rpc::Responder r);
    void got_file_page(uint64_t fetch, uint32_t index, Result<FilePage> page);
    Result<Session*> session(const rpc::Identity& caller, uint64_t id, uint32_t vnode);
    void end_session(uint64_t id);
    void unpark();

    roce::Port& port_;
    Clock& clock_;
    Random& random_;
    PageProvider* provider_;
    MemoryMonitorOptions options_;
    Ledger ledger_;
    std::map<uint64_t, Own<Session>> sessions_;
    std::vector<Own<Session>> ending_;
    std::map<uint32_t, uint64_t> fenced_; // node -> the newest fenced incarnation
    std::deque<Parked> parked_;
    bool unpark_due_ = false;
    std::map<uint64_t, FileFetch> file_fetches_;
    uint64_t next_fetch_ = 1;
    std::map<uint64_t, Revocation> revocations_;
    uint64_t next_revocation_ = 1;
    MemoryCounters counters_;
    std::vector<std::byte> scratch_;
    bool listening_ = false;
};

} // namespace tessera::mmon
