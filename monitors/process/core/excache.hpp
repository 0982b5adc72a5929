// ExCache: the pComponent's DRAM as a cache of remote memory, 4 KiB lines (protocols.md 1, 2, 3,
// 8).
//
// The one place on a pComponent where a page can be: page tables, read() and write() of user
// memory, exec and futex words all meet in the line that is named (object, page). It fills lines
// (zero, RDMA READ, fetch RPC, local copy), breaks copy-on-write, writes dirty lines back ahead of
// need, chooses victims, and is the only editor of user page tables.
//
// Invariants: a line is clean only after the owner said so; a name has at most one write-back in
// flight; every page that the owner does not yet have holds a credit, apart from those that fork
// shares; a writable translation exists only to a dirty line with one name that is not on its way
// out.
//
// Passive, one shard (the port's). Every function is called from it; PageRequest::done comes back
// in it, possibly inside request(). Threads enter through env::Shard (monitors/process/memory
// does).
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "base/clock.hpp"
#include "base/histogram.hpp"
#include "monitors/env/frames.hpp"
#include "monitors/env/page_mapper.hpp"
#include "monitors/process/core/line.hpp"
#include "monitors/process/core/page_client.hpp"
#include "monitors/process/core/replacement.hpp"

namespace tessera::pmon {

// What one address space is to the cache. Made and freed by ExCache.
class Space {
  public:
    VnodeId vnode;
    CacheObject* object = nullptr; // its private memory
    Own<env::PageMapper> mapper;
    PageRadix mapped; // page -> line + 1: the translations there are
    // Raised by the thread side before it changes which mapping an address has.
    std::atomic<uint64_t> generation{1};
    uint32_t write_pins = 0;
    uint32_t requests = 0; // PageRequests under way
    std::atomic<uint64_t> faults{0};
    std::atomic<uint64_t> remote_faults{0};
    std::atomic<uint64_t> resident{0}; // translations now
    bool dying = false;
    ListLink link;
};

struct ExCacheOptions {
    NodeId node; // in object ids, so that they are unique in the cluster
    Incarnation incarnation;
    uint32_t lines = 16384;      // limit at the start
    uint32_t most_lines = 16384; // set_limit may go up to here
    uint16_t runnable = 1;       // for the minimum: 32 lines for each
    uint32_t write_backs = 32;   // in flight per owner
    uint32_t prefetch = 8;       // pages ahead of a sequential miss, at most 8
    Nanos give_up = seconds(30); // longest a page is waited for
};

struct ExCacheCounters {
    uint64_t requests = 0;     // faults and pins
    uint64_t hits = 0;         // the page was in a line
    uint64_t misses = 0;       // it was not
    uint64_t remote_reads = 0; // lines filled by RDMA READ
    uint64_t fetches = 0;      // lines filled by RPC
    uint64_t zero_fills = 0;
    uint64_t copies = 0; // copy-on-write and private copies of file pages
    uint64_t write_backs = 0;
    uint64_t evictions = 0;
    uint64_t rescues = 0; // standby lines that were wanted again
    uint64_t waits = 0;   // requests that waited for a free line
    uint64_t credit_waits = 0;
    uint64_t prefetches = 0;
    uint64_t prefetch_hits = 0;
    uint64_t refusals = 0; // write-backs refused
    uint64_t lines = 0;    // in use now
    uint64_t limit = 0;
    uint64_t dirty = 0;   // now
    uint64_t writing = 0; // now
    uint64_t standby = 0; // now
};

class ExCache final : PageEvents, LineProbe {
  public:
    static Result<Own<ExCache>> create(roce::Port& port, env::FramePool& frames, Clock& clock,
                                       const ExCacheOptions& options,
                                       Own<ReplacementPolicy> policy = nullptr);
    ~ExCache();

    // A vNode's memory is at these owners, in mount order (the same order on every component); the
    // first one is the home of new private memory. `control` is the RPC peer of that mComponent.
    PageClient& add_owner(VnodeId vnode, rpc::Peer& control, roce::Ipv4 owner,
                          uint16_t service = rpc::kPageService);
    bool has_owner(VnodeId vnode) const;
    bool has_owner(VnodeId vnode, roce::Ipv4 owner);
    // Those of the owners that are homes of files, within the present mount epoch; add_owner adds
    // to them. Files of a lost owner go on at their new home, but for those that were written
    // through a mapping: these are Lost.
    void set_file_homes(VnodeId vnode, std::vector<roce::Ipv4> homes);
    // Its spaces must be destroyed. Lines and sessions go.
    void remove_vnode(VnodeId vnode);
    // The mComponent has been declared dead: what it held is Lost from now on. It is asked again
    // until a new incarnation of it answers; what is made from then on lives there.
    void owner_dead(roce::Ipv4 owner);

    // Spaces. NoDevice: the vNode has no owner here; Again: no room in the stream now, or (fork) a
    // copy into the parent's memory is running: try again soon; Lost.
    Result<Space*> create_space(VnodeId vnode, Own<env::PageMapper>& mapper);
    // `mapper` is taken only if Ok.
    Result<Space*> fork_space(Space& parent, Own<env::PageMapper>& mapper);
    Result<void> destroy_space(Space& space); // Again

    // Objects behind mappings. Each call takes a reference. NoDevice, Again.
    Result<CacheObject*> file_object(VnodeId vnode, FileId file, Generation generation);
    Result<CacheObject*> shared_object(VnodeId vnode);
    static void hold(CacheObject& o) { o.references++; } // any thread that holds one
    static void hold_source(CacheObject* o) { hold(*o); }
    Result<void> release(
        CacheObject& o); // Again: not released; a shared object's end needs the stream

    void request(PageRequest& r);
    // The request is answered (Cancelled, or what it was about to be) before this returns.
    void cancel(PageRequest& r);
    void unpin(LineId line, PageRequest::Mode mode, Space& space);

    // Page ranges [first, first + pages). unmap: translations only. discard: also the private pages
    // become absent. move: private pages change their place, what was there goes. Again.
    void unmap(Space& space, uint64_t first, uint64_t pages);
    Result<void> discard(Space& space, uint64_t first, uint64_t pages);
    Result<void> discard_object(CacheObject& object, uint64_t first, uint64_t pages);
    Result<void> move(Space& space, uint64_t first, uint64_t pages, uint64_t to);

    // Files. patch: the home has accepted this write, cached lines follow. drop: lines of the range
    // go (truncated, or somebody else wrote); dirty ones are forgotten. flush: starts the
    // write-back of dirty lines of shared mappings; returns how many are still on their way: poll
    // with it.
    void patch_file(VnodeId vnode, FileId file, Generation g, uint64_t offset, Bytes data);
    void drop_file(VnodeId vnode, FileId file, Generation g, uint64_t first, uint64_t pages);
    uint64_t flush_file(VnodeId vnode, FileId file, Generation g);

    // Changes the number of lines; shrinking evicts over the next polls. InvalidArgument: below the
    // minimum (pins + 32 for each runnable thread) or above most_lines.
    Result<void> set_limit(uint32_t lines);
    uint32_t limit() const { return limit_; }
    ExCacheCounters counters() const;
    // Faults on private pages that waited for the owner, from the trap until the page was mapped.
    // The address spaces record, in any thread.
    LatencyHistogram& remote_fault_times() { return remote_fault_times_; }

    // After Port::poll(). Cleans ahead, retries, times out. Returns true if there is more to do
    // now.
    bool poll();
    Nanos next_deadline() const;

  private:
    struct Vnode {
        VnodeId id;
        std::vector<PageClient*> owners;
        std::vector<PageClient*> successors; // of owners that are lost; else null
        std::vector<roce::Ipv4> file_homes;
    };
    using Waiting = List<PageRequest, &PageRequest::link>;

    ExCache(roce::Port& port, env::FramePool& frames, Clock& clock, const ExCacheOptions& options,
            Own<ReplacementPolicy> policy);

    // PageEvents, LineProbe.
    void on_executed(PageClient& c, Sequence executed) override;
    void on_written(PageClient& c, uint64_t token, Sequence n, Result<void> how,
                    uint32_t credits) override;
    void on_read(PageClient& c, uint64_t token, Result<void> how) override;
    void on_fetched(PageClient& c, uint64_t token, Result<std::span<const Fetched>> pages) override;
    void on_stored(PageClient& c, uint64_t token, Result<void> how) override;
    void on_credits(PageClient& c, bool refused) override;
    void on_granted(PageClient& c, ObjectId object, PageNo first, uint64_t pages) override;
    void on_room(PageClient& c) override;
    void on_revoked(PageClient& c, uint64_t id, FileId file, Generation g, PageNo first,
                    uint64_t pages) override;
    void on_lost(PageClient& c, Error why) override;
    bool candidate(LineId line) override;
    bool test_and_clear_accessed(LineId line) override;

    // fault.cpp: from a wish to a page.
    void resolve(PageRequest& r);
    void resolve_object(PageRequest& r, CacheObject& object, uint64_t page);
    void resolve_line(PageRequest& r, CacheObject& object, uint64_t page, Line& line);
    void resolve_source(PageRequest& r);
    void zero_fill(PageRequest& r, CacheObject& object, uint64_t page);
    void copy_source(PageRequest& r, Line& source);
    Line* make_writable(PageRequest& r, CacheObject& object, uint64_t page, Line& line);
    Line* new_dirty_line(PageRequest& r, CacheObject& object, uint64_t page, bool needs_credit);
    void finish(PageRequest& r, Result<void> how);
    void finish_with(PageRequest& r, Line& line);
    void park(PageRequest& r, Waiting& list, PageRequest::Where where);
    void wake(Waiting& list);
    void run();

    // fill.cpp: lines that are on their way.
    struct FetchOp {
        std::array<LineId, schema::kMaxFetchPages> lines;
        uint32_t count = 0; // 0: free
        PageClient* client = nullptr;
    };
    Line* start_fill(CacheObject& object, uint64_t page);
    void issue_fill(Line& line);
    bool issue_fetch(std::span<Line* const> lines);
    Line* filling_line(CacheObject& object, uint64_t page);
    void prefetch(CacheObject& object, uint64_t after);
    void filled(Line& line, Result<void> how);
    void retry_later(Line& line, Nanos delay);
    void run_retries();

    // lines.cpp: names, mappings, states.
    bool line_available() const { return standby_count_ > 0 || used_ < limit_; }
    Line* take_line();
    void free_line(Line& line);
    void add_name(Line& line, CacheObject& object, uint64_t page);
    void remove_name(Line& line, CacheObject& object, uint64_t page);
    void drop_names(Line& line);
    PageEntry entry(CacheObject& object, uint64_t page) { return {object.pages.get(page)}; }
    void set_entry(CacheObject& object, uint64_t page, PageEntry e) {
        object.pages.set(page, e.value());
    }
    void set_state(Line& line, LineState s);
    void enter_standby(Line& line);
    void leave_standby(Line& line);
    void drop_credit(Line& line);
    Result<void> map_line(Space& space, uint64_t page, Line& line, env::PageRights rights);
    void unmap_page(Space& space, uint64_t page);
    void unmap_line(Line& line);
    void protect_line(Line& line);
    void after_unnamed(Line& line);

    // reclaim.cpp: cleaning and eviction.
    void balance();
    bool clean(Line& line);
    bool start_write_back(Line& line);
    bool start_store(Line& line);
    void settle_clean(Line& line);
    bool too_dirty(const PageClient& c) const;
    uint32_t clean_target() const;
    uint32_t minimum() const;

    CacheObject* new_object(ObjectKind kind, ObjectId id, PageClient* client);
    void free_object(CacheObject& o);
    bool drop_entries(CacheObject& o, uint64_t first, uint64_t pages);
    void abandon_lines(PageClient& c);
    void add_lines(uint32_t n);
    Sequence submit(PageClient& c, schema::StreamKind kind, ObjectId object, ObjectId other = {},
                    uint64_t first = 0, uint64_t pages = 0);
    void sweep();
    CacheObject* find_file(VnodeId vnode, FileId file, Generation g);
    Vnode* vnode(VnodeId id);
    Line& line(LineId id) { return lines_[id]; }

    roce::Port& port_;
    env::FramePool& frames_;
    Clock& clock_;
    ExCacheOptions options_;
    Own<ReplacementPolicy> policy_;

    std::deque<Line> lines_;
    uint32_t limit_ = 0;
    uint32_t used_ = 0;
    List<Line, &Line::link> free_;
    List<Line, &Line::link> standby_;
    List<Line, &Line::link> retrying_;
    Waiting for_line_;
    Waiting for_credit_;
    Waiting later_;

    std::vector<Vnode> vnodes_;
    PageClient& make_client(VnodeId vnode, rpc::Peer& control, roce::Ipv4 owner, uint16_t service);
    PageClient* file_home(Vnode& v, FileId file);
    PageClient* new_owner(Vnode& v);
    bool moves(CacheObject& o);
    void move_files(Vnode& v);
    void renew_owners();
    void retire_lost();

    std::vector<Own<PageClient>> clients_;
    Nanos renew_at_ = kNever; // owners that are lost are asked again
    std::vector<Own<PageClient>> closing_;
    List<CacheObject, &CacheObject::link> objects_;
    std::map<uint64_t, std::vector<CacheObject*>> files_; // by file id
    List<Space, &Space::link> spaces_;
    uint64_t next_object_ = 1;
    Name* free_names_ = nullptr;
    MappedAt* free_maps_ = nullptr;
    std::deque<Name> names_;
    std::deque<MappedAt> maps_;
    uint32_t dirty_ = 0;
    uint32_t writing_ = 0;
    uint32_t standby_count_ = 0;
    uint32_t pins_ = 0;
    bool running_ = false;
    bool sweep_due_ = false;
    bool exhausted_ = false;  // the policy found nothing, and nothing has changed since
    bool dirty_only_ = false; // what candidate() accepts
    std::vector<FetchOp> fetches_;
    ExCacheCounters counters_;
    LatencyHistogram remote_fault_times_;
};

} // namespace tessera::pmon
