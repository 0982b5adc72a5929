// What the service's threads and its shard share. Private to monitors/process/service.
//
//   service.cpp   the shard's side: requests in, answers out
//   consoles.cpp  the service thread: polls that wait, and clients that went without a word
//   requests.cpp  the service thread: every other request
//   spawner.cpp   the spawner thread, and what it is given
#pragma once

#include <atomic>
#include <deque>

#include "kernel/sync/event.hpp"
#include "monitors/process/posix/process/lifecycle.hpp"
#include "monitors/process/service/service.hpp"

namespace tessera::pmon {

inline constexpr size_t kMostBytes = 32 * 1024 - sizeof(schema::ConsolePollReply);
inline constexpr size_t kMostJobs = 256; // requests under way; the next one is refused with Full

// One request, from its arrival in the shard to its answer there. Owned by whoever works on it.
struct Job {
    rpc::Opcode operation;
    std::vector<std::byte> request;
    rpc::Responder responder; // used in the shard only
    Result<void> outcome;
    std::vector<std::byte> reply;
    // Polls, and input that waits for room
    Nanos until{};
    // Spawns
    posix::Vnode* vnode = nullptr;
    posix::ProgramRequest program;
    bool terminal = false;
    uint16_t rows = 0, columns = 0;
    Ref<posix::Console> console;
};

// Single producer, single consumer, no lock: the shard is one of the two ends.
class JobRing {
  public:
    bool push(Job* j) {
        uint32_t t = tail_.load(std::memory_order_relaxed);
        if (t - head_.load(std::memory_order_acquire) == kMostJobs) return false;
        slots_[t % kMostJobs] = j;
        tail_.store(t + 1, std::memory_order_release);
        return true;
    }
    Job* pop() {
        uint32_t h = head_.load(std::memory_order_relaxed);
        if (h == tail_.load(std::memory_order_acquire)) return nullptr;
        Job* j = slots_[h % kMostJobs];
        head_.store(h + 1, std::memory_order_release);
        return j;
    }
    bool empty() const { return head_.load() == tail_.load(); }

  private:
    Job* slots_[kMostJobs] = {};
    std::atomic<uint32_t> head_{0}, tail_{0};
};

struct Session {
    Ref<posix::Console> console;
    std::vector<Own<Job>> parked; // polls; usually at most one
    std::vector<Own<Job>> inputs; // wait for room, or for those before them
    Nanos heard{};                // the last request about it, or the end of one that waited
    Nanos answered{};             // the last poll
    bool stopped = false;         // as last told
};

// Takes a T off `from`. Malformed: it is too short.
template <typename T>
Result<T> parse(Bytes& from) {
    if (from.size() < sizeof(T)) return Fail(Error::Malformed);
    T v = load<T>(from);
    from = from.subspan(sizeof(T));
    return v;
}

inline void append_bytes(std::vector<std::byte>& to, Bytes b) {
    to.insert(to.end(), b.begin(), b.end());
}

// Sessions belong to the service thread; starting programs is the spawner thread's; the shard only
// passes jobs in and answers out. Kept alive by posted steps and by the consoles' notifications.
struct ProcessService::State final : public RefCounted {
    State(VnodeDirectory& v, ShardPoster& p, Clock& c, Random& r)
        : vnodes(v), shard(p), clock(c), random(r) {}
    ~State() override {
        for (JobRing* ring : {&incoming, &answered})
            while (Job* j = ring->pop())
                delete j;
    }

    VnodeDirectory& vnodes;
    ShardPoster& shard;
    Clock& clock;
    Random& random;
    JobRing incoming, answered;
    uint32_t under_way = 0; // shard
    kernel::Event wake;     // the service thread has something to do
    std::atomic<bool> stopping{false};
    std::atomic<size_t> session_count{0};
    std::map<uint64_t, Session> sessions;
    size_t starting = 0;
    std::atomic<posix::Vnode*> to_forget{nullptr};
    kernel::Event forgotten;

    kernel::Mutex mutex{kernel::LockRank::Leaf}; // both lists of spawns
    kernel::WaitQueue spawn_wanted;
    std::deque<Own<Job>> to_spawn, spawned;
    kernel::Thread* service_thread = nullptr;
    kernel::Thread* spawner = nullptr;

    // The shard.
    void arrive(rpc::Opcode op, Bytes request, rpc::Responder r);
    void deliver();
    // The service thread.
    void serve();
    void work(Own<Job> job);
    void finish(Own<Job> job);
    Result<void> prepare_spawn(Job& job);
    Result<bool> answer_poll(Session& session, Job& job, bool now);
    Result<bool> park(Own<Job>& job);
    Result<bool> answer_input(Session& session, Job& job, bool now);
    Result<bool> park_input(Own<Job>& job);
    Nanos look_at(Session& session, Nanos now);
    Nanos look_at_parked();
    Result<void> signal(const schema::SignalRequest& q);
    Result<void> list(Job& job);
    Result<Session*> find(uint64_t id) {
        auto found = sessions.find(id);
        if (found == sessions.end()) return Fail(Error::NotFound);
        found->second.heard = kernel::Thread::now();
        return &found->second;
    }
    void close(uint64_t id);
    // The spawner.
    void spawn_loop();
};

} // namespace tessera::pmon
