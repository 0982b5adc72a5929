// PageClient: a process monitor's end of one page session (net/schema/page.hpp): one vNode, one
// owner mComponent. It keeps the ordered stream over lost connections, counts credits, posts READs.
//
// Every write-back and stream operation has a record until the owner's Status covers it. A lost
// connection: open again, forget what was executed, post the rest in order; READs in flight come
// back as Disconnected and their pages are then fetched by RPC. Credits are exact at every moment:
// pool = granted - returned - consumed - attached, where attached are those on dirty lines and on
// records; the pool may be negative for as long as a write-back that brought no credit stands
// before one whose credit comes back.
//
// One shard (the port's). Owned by ExCache. Calls its PageEvents only from callbacks of the port
// and the peer and from poll(), never from inside a call made to it.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "base/units.hpp"
#include "net/roce/verbs.hpp"
#include "net/rpc/rpc.hpp"
#include "net/schema/page.hpp"

namespace tessera::pmon {

using Sequence = uint64_t; // of a stream operation; 0 = none

struct PageClientOptions {
    VnodeId vnode;
    Incarnation incarnation; // this component's
    roce::Ipv4 owner;
    uint16_t service = rpc::kPageService;
    uint16_t reads = 32;              // READs in flight
    uint32_t stream_depth = 4096;     // records
    uint32_t credit_batch = 256;      // pages asked for at a time
    Nanos call_deadline = seconds(5); // of one RPC
};

struct Fetched {
    schema::FetchStatus status = schema::FetchStatus::None;
    Bytes data; // Present: 4096 bytes, valid during the call
};

class PageClient;

class PageEvents {
  public:
    // Operations up to `executed` are done, except those reported by on_refused before.
    virtual void on_executed(PageClient& c, Sequence executed) = 0;
    // A write-back named by `token` was executed (Ok) or refused. `credits` it still holds.
    virtual void on_written(PageClient& c, uint64_t token, Sequence n, Result<void> how,
                            uint32_t credits) = 0;
    virtual void on_read(PageClient& c, uint64_t token, Result<void> how) = 0;
    virtual void on_fetched(PageClient& c, uint64_t token,
                            Result<std::span<const Fetched>> pages) = 0;
    virtual void on_stored(PageClient& c, uint64_t token, Result<void> how) = 0;
    // The pool changed, or a request was answered with nothing (refused).
    virtual void on_credits(PageClient& c, bool refused) = 0;
    virtual void on_granted(PageClient& c, ObjectId object, PageNo first, uint64_t pages) = 0;
    // Room in the stream or for READs, or the connection is up again.
    virtual void on_room(PageClient& c) = 0;
    // Drop the lines of this file range, then call revoke_done(id).
    virtual void on_revoked(PageClient& c, uint64_t id, FileId file, Generation g, PageNo first,
                            uint64_t pages) = 0;
    // The owner has lost the session or is dead: everything it held is gone. Once.
    virtual void on_lost(PageClient& c, Error why) = 0;

  protected:
    ~PageEvents() = default;
};

class PageClient final : roce::QpEvents {
  public:
    PageClient(roce::Port& port, rpc::Peer& control, Clock& clock, const PageClientOptions& options,
               PageEvents& events);
    ~PageClient();
    PageClient(const PageClient&) = delete;
    PageClient& operator=(const PageClient&) = delete;

    VnodeId vnode() const { return options_.vnode; }
    roce::Ipv4 owner() const { return options_.owner; }
    uint16_t service() const { return options_.service; }
    rpc::Peer& control() { return control_; }
    bool connected() const { return state_ == State::Up; }
    bool lost() const { return state_ == State::Lost; }

    // How many submit/write_back calls would succeed now. A lost client swallows them all.
    uint32_t room() const;
    // Full. The sequence field is filled in.
    Result<Sequence> submit(const schema::StreamOp& op);
    // Posts one line; `page` stays unchanged until on_written(token). credits (0 or 1) go with it.
    // Full; Again: no grant yet (it has been asked for, on_granted follows).
    Result<Sequence> write_back(ObjectId object, PageNo page, Bytes data, uint64_t token,
                                uint32_t credits);
    // RDMA READ of one page. Again: not possible now (connection, grant, or the stream has not yet
    // executed `after`): use fetch. Full: too many in flight, wait for on_room.
    Result<void> read(ObjectId object, PageNo page, Sequence after, MutableBytes into,
                      uint64_t token);
    // RPC. Object 0: of a file.
    // Again: the session is not open yet, wait for on_room.
    Result<void> fetch(ObjectId object, FileId file, Generation g, PageNo first, uint32_t count,
                       Sequence after, uint64_t token);
    Result<void> store(FileId file, Generation g, PageNo page, Bytes data, uint64_t token);
    // Asks for the grant of a page's vRegion if it is not held; a write-back will want it.
    void want_grant(ObjectId object, PageNo page);
    bool has_grant(ObjectId object, PageNo page);
    void forget_object(ObjectId object); // its grants
    void revoke_done(uint64_t id);

    Sequence submitted() const { return next_ - 1; }
    Sequence executed() const { return executed_; }
    uint32_t in_flight_writes() const { return writes_; }

    // Credits. take: false if the pool is empty; then a request is on its way and on_credits
    // follows.
    bool take_credit();
    void put_credit(uint32_t n);
    int64_t pool() const { return pool_; }

    // Tells the owner that the session is over, and forgets everything. No events follow. Destroy
    // it when idle(): answers of the peer may still be on their way to it.
    void close();
    bool idle() const { return calls_ == 0; }
    void declare_lost(Error why);

    void poll();
    Nanos next_deadline() const;

    uint32_t dirty_lines = 0; // kept by ExCache: what this owner has yet to be given

    uint64_t reads_posted() const { return reads_posted_; }
    uint64_t reconnects() const { return reconnects_; }

  private:
    // Work request ids: what a completion belongs to.
    static constexpr uint64_t kStreamTag = 1ull << 62;
    static constexpr uint64_t kReadTag = 1ull << 63;
    static constexpr uint16_t kReceives = 32;

    enum class State : uint8_t { Closed, Opening, Connecting, Up, Waiting, Lost, Over };
    struct Record {
        schema::StreamOp op; // kind None: a write-back
        Bytes data;
        roce::Rkey rkey;
        uint64_t token = 0;
        uint32_t credits = 0;
        bool refused = false;
    };
    struct Grant {
        uint64_t region = 0; // index: byte offset >> vregion shift
        roce::Rkey rkey;
        bool asked = false;
    };
    struct ReadSlot {
        uint64_t token = 0;
        bool used = false;
    };
    struct Buffer {
        std::array<std::byte, schema::kMaxPageMessage> bytes;
    };

    void on_sent(roce::Qp& qp, uint64_t id, roce::Status status) override;
    void on_received(roce::Qp& qp, const roce::Received& r) override;
    void on_disconnected(roce::Qp& qp, Error why) override;

    void open();
    void on_opened(Result<Bytes> reply);
    void connect(uint64_t ticket);
    void on_connected(Result<Bytes> reply);
    void back_off();
    void drop_connection();
    void fail_reads(Error why);
    void post_due();
    bool post_record(Record& r);
    void apply(Sequence executed, uint64_t consumed, uint64_t granted, uint64_t returned);
    void settle(bool credits_changed);
    void mark_refused(Sequence n, Error why);
    void on_status(Bytes message);
    void on_grant(Bytes message);
    void add_grant(ObjectId object, uint64_t base, roce::Rkey rkey);
    Grant* grant(ObjectId object, PageNo page);
    Grant& make_grant(ObjectId object, PageNo page);
    void ask_grant(ObjectId object, Grant& g);
    Record& record(Sequence n) { return records_[n - first_record_]; }
    void ask_credits();

    roce::Port& port_;
    rpc::Peer& control_;
    Clock& clock_;
    PageClientOptions options_;
    PageEvents& events_;

    State state_ = State::Closed;
    roce::Qp* qp_ = nullptr;
    roce::Pd pd_;
    uint64_t session_ = 0;
    uint16_t window_ = 32;
    uint8_t vregion_shift_ = 30;
    Nanos retry_at_ = kNever;
    Nanos retry_delay_ = milliseconds(10);
    uint64_t generation_ = 0; // of the connection: late answers of older ones are ignored
    uint32_t calls_ = 0;      // RPCs whose answer is still to come

    std::deque<Record> records_; // first_record_ .. next_ - 1
    Sequence first_record_ = 1;
    Sequence next_ = 1;
    Sequence posted_ = 0;   // the last one on the QP
    Sequence sent_ = 0;     // the last one whose buffers the port has given back
    Sequence reported_ = 0; // by the owner
    Sequence executed_ = 0; // settled: reported and sent
    uint32_t writes_ = 0;
    uint64_t consumed_ = 0;
    uint64_t granted_ = 0;
    uint64_t returned_ = 0;
    int64_t pool_ = 0;
    Sequence credit_request_ = 0; // outstanding CreditRequest
    uint64_t granted_at_request_ = 0;
    bool room_wanted_ = false;

    struct Granted {
        ObjectId object;
        std::vector<Grant> grants;
    };
    std::vector<Granted> grants_; // sorted by object

    std::vector<ReadSlot> reads_;
    uint32_t reads_in_flight_ = 0;
    uint64_t reads_posted_ = 0;
    uint64_t reconnects_ = 0;
    std::vector<Buffer> receive_;
};

} // namespace tessera::pmon
