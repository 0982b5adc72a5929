#include "monitors/process/service/service.hpp"

#include <atomic>
#include <deque>

#include "base/log.hpp"
#include "kernel/sync/event.hpp"
#include "monitors/process/posix/process/lifecycle.hpp"

namespace tessera::pmon {

using kernel::MutexGuard;
using kernel::Thread;
using namespace posix;
namespace s = schema;

namespace {

constexpr size_t kMostBytes = 32 * 1024 - sizeof(s::ConsolePollReply);
constexpr size_t kMostJobs = 256; // requests under way; the next one is refused with Full
// A client that is there asks at least every few seconds, so after this silence it is dead (or
// gives up itself, see patience in tools/tess/console.hpp): its console hangs up. A client whose
// program has stopped has stopped too, and may stay so overnight.
constexpr Nanos kSilence = seconds(45);
constexpr Nanos kStoppedSilence = seconds(24 * 3600);
// A program that writes line after line is answered in pieces of at least this much, or this far
// apart: each answer costs both ends more than the bytes in it. What comes after a pause (an echo)
// goes at once.
constexpr size_t kFullAnswer = 8 * 1024;
constexpr Nanos kAnswerGap = milliseconds(3);
constexpr Nanos kInputWait = seconds(5); // input waits this long for room before it is tried again

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
    Vnode* vnode = nullptr;
    ProgramRequest program;
    bool terminal = false;
    uint16_t rows = 0, columns = 0;
    Ref<Console> console;
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
    Ref<Console> console;
    std::vector<Own<Job>> parked; // polls; usually at most one
    std::vector<Own<Job>> inputs; // wait for room, or for those before them
    Nanos heard{};                // the last request about it, or the end of one that waited
    Nanos answered{};             // the last poll
    bool stopped = false;         // as last told
};

// Takes the next NUL-terminated string off `from`. Malformed if there is none.
Result<std::string> take_string(Bytes& from) {
    std::string_view all = text_of(from);
    size_t end = all.find('\0');
    if (end == std::string_view::npos) return Fail(Error::Malformed);
    from = from.subspan(end + 1);
    return std::string(all.substr(0, end));
}

template <typename T>
Result<T> parse(Bytes& from) {
    if (from.size() < sizeof(T)) return Fail(Error::Malformed);
    T v = load<T>(from);
    from = from.subspan(sizeof(T));
    return v;
}

void append_bytes(std::vector<std::byte>& to, Bytes b) {
    to.insert(to.end(), b.begin(), b.end());
}

} // namespace

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
    std::atomic<Vnode*> to_forget{nullptr};
    kernel::Event forgotten;

    kernel::Mutex mutex{kernel::LockRank::Leaf}; // both lists of spawns
    kernel::WaitQueue spawn_wanted;
    std::deque<Own<Job>> to_spawn, spawned;
    Thread* service_thread = nullptr;
    Thread* spawner = nullptr;

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
    Result<void> signal(const s::SignalRequest& q);
    Result<void> list(Job& job);
    Result<Session*> find(uint64_t id) {
        auto found = sessions.find(id);
        if (found == sessions.end()) return Fail(Error::NotFound);
        found->second.heard = Thread::now();
        return &found->second;
    }
    void close(uint64_t id);
    // The spawner.
    void spawn_loop();
};

ProcessService::ProcessService(VnodeDirectory& vnodes, ShardPoster& shard, Clock& clock,
                               Random& random) {
    auto state = make_ref<State>(vnodes, shard, clock, random);
    state_ = state.get();
    keep_ = state;
    auto a = Thread::start("consoles", [state] { state->serve(); });
    auto b = Thread::start("spawner", [state] { state->spawn_loop(); });
    ASSERT(a.has_value() && b.has_value()); // at boot, with memory to spare
    state->service_thread = *a;
    state->spawner = *b;
}

ProcessService::~ProcessService() {
    state_->stopping = true;
    state_->wake.signal();
    {
        MutexGuard guard(state_->mutex);
        state_->spawn_wanted.wake_all();
    }
    state_->service_thread->join();
    state_->spawner->join();
    for (auto& [id, session] : state_->sessions)
        session.console->set_notify(nullptr);
    state_->sessions.clear();
}

void ProcessService::register_handlers(rpc::Node& node) {
    State* st = state_; // outlives the node's traffic: the service is destroyed after it
    for (rpc::Opcode op : {s::kSpawn, s::kConsolePoll, s::kConsoleInput, s::kConsoleResize,
                           s::kSignal, s::kProcessList})
        node.handle(op, [st, op](const rpc::Identity&, Bytes request, rpc::Responder r) {
            st->arrive(op, request, std::move(r));
        });
}

// --- the shard ---

void ProcessService::State::arrive(rpc::Opcode op, Bytes request, rpc::Responder r) {
    if (under_way >= kMostJobs) return r.fail(Error::Full);
    Job* j = new Job;
    j->operation = op;
    j->request.assign(request.begin(), request.end());
    j->responder = std::move(r);
    under_way++;
    bool fits = incoming.push(j); // under_way bounds what is anywhere, so it does
    ASSERT(fits);
    wake.signal();
}

void ProcessService::State::deliver() {
    while (Job* raw = answered.pop()) {
        Own<Job> job(raw);
        under_way--;
        if (job->outcome)
            job->responder.reply(job->reply);
        else
            job->responder.fail(job->outcome.error());
    }
}

void ProcessService::forget(Vnode& vnode) {
    state_->to_forget = &vnode;
    state_->wake.signal();
    state_->forgotten.wait();
}

void ProcessService::poll() {
    state_->deliver();
}

Nanos ProcessService::next_deadline() const {
    return state_->answered.empty() ? kNever : state_->clock.now();
}

size_t ProcessService::console_count() const {
    return state_->session_count;
}

// --- the service thread ---

void ProcessService::State::finish(Own<Job> job) {
    bool fits = answered.push(job.release());
    ASSERT(fits);
    Ref<State> me(this);
    // A full inbox is no loss: ProcessService::poll() delivers what waits.
    (void)shard.post([me] { me->deliver(); });
}

void ProcessService::State::serve() {
    Nanos next = kNever;
    while (!stopping) {
        wake.wait(next);
        while (Job* raw = incoming.pop())
            work(Own<Job>(raw));
        for (;;) {
            Own<Job> job;
            {
                MutexGuard guard(mutex);
                if (spawned.empty()) break;
                job = std::move(spawned.front());
                spawned.pop_front();
            }
            starting--;
            if (job->outcome) {
                Session& session = sessions[job->console->id()];
                session.console = job->console;
                session.heard = Thread::now();
            }
            finish(std::move(job));
        }
        next = look_at_parked();
        if (starting == 0)
            if (Vnode* v = to_forget.exchange(nullptr)) {
                std::vector<uint64_t> ids;
                for (auto& [id, session] : sessions)
                    if (&session.console->vnode() == v) ids.push_back(id);
                for (uint64_t id : ids)
                    close(id);
                forgotten.signal();
            }
        session_count = sessions.size();
    }
}

void ProcessService::State::work(Own<Job> job) {
    if (job->operation == s::kSpawn) {
        job->outcome = prepare_spawn(*job);
        if (!job->outcome) return finish(std::move(job));
        starting++;
        MutexGuard guard(mutex);
        to_spawn.push_back(std::move(job));
        spawn_wanted.wake_one();
        return;
    }
    if (job->operation == s::kConsolePoll) {
        Result<bool> parked = park(job);
        if (parked && *parked) return;
        if (!parked) job->outcome = Fail(parked.error());
        return finish(std::move(job));
    }
    if (job->operation == s::kConsoleInput) {
        Result<bool> parked = park_input(job);
        if (parked && *parked) return;
        if (!parked) job->outcome = Fail(parked.error());
        return finish(std::move(job));
    }
    Bytes request = job->request;
    job->outcome = [&]() -> Result<void> {
        if (job->operation == s::kConsoleResize) {
            auto q = TRY(parse<s::ConsoleResizeRequest>(request));
            Session* session = TRY(find(q.console));
            return session->console->resize(q.rows, q.columns);
        }
        if (job->operation == s::kSignal) return signal(TRY(parse<s::SignalRequest>(request)));
        return list(*job);
    }();
    finish(std::move(job));
}

Result<void> ProcessService::State::prepare_spawn(Job& job) {
    Bytes request = job.request;
    auto q = TRY(parse<s::SpawnRequest>(request));
    if (q.argc == 0) return Fail(Error::InvalidArgument);
    for (unsigned i = 0; i < q.argc; i++)
        job.program.arguments.push_back(TRY(take_string(request)));
    for (unsigned i = 0; i < q.envc; i++)
        job.program.environment.push_back(TRY(take_string(request)));
    job.program.cwd = TRY(take_string(request));
    if (job.program.cwd.empty()) job.program.cwd = "/";
    job.program.uid = q.uid;
    job.program.gid = q.gid;
    job.terminal = q.terminal;
    job.rows = q.rows;
    job.columns = q.columns;
    job.vnode = vnodes.find(VnodeId(q.vnode));
    if (!job.vnode) return Fail(Error::NoDevice);
    if (sessions.size() + starting >= kMostConsoles) return Fail(Error::Full);
    return {};
}

// True if the job has its reply. now: whatever there is, its time is over.
Result<bool> ProcessService::State::answer_poll(Session& session, Job& job, bool now) {
    Bytes request = job.request;
    auto q = TRY(parse<s::ConsolePollRequest>(request));
    auto snapshot = TRY(session.console->poll(q.out_offset, q.error_offset, kMostBytes));
    if (!snapshot.ready && !now) return false;
    size_t bytes = snapshot.out.size() + snapshot.error.size();
    bool only_bytes = bytes > 0 && snapshot.state == s::ConsoleState::Running;
    Nanos time = Thread::now();
    if (!now && only_bytes && bytes < kFullAnswer && time - session.answered < kAnswerGap)
        return false;
    session.answered = time;
    session.stopped = snapshot.state == s::ConsoleState::Stopped;
    s::ConsolePollReply reply{};
    reply.out_length = static_cast<uint32_t>(snapshot.out.size());
    reply.error_length = static_cast<uint32_t>(snapshot.error.size());
    reply.state = static_cast<unsigned char>(snapshot.state);
    reply.code = snapshot.code;
    reply.out_end = snapshot.out_end;
    reply.error_end = snapshot.error_end;
    reply.input_room = snapshot.input_room;
    std::memcpy(reply.reason, snapshot.reason.data(),
                std::min(snapshot.reason.size(), sizeof reply.reason - 1));
    append_bytes(job.reply, bytes_of(reply));
    append_bytes(job.reply, snapshot.out);
    append_bytes(job.reply, snapshot.error);
    return true;
}

// True: the job waits with its session and has left `job`.
Result<bool> ProcessService::State::park(Own<Job>& job) {
    Bytes request = job->request;
    auto q = TRY(parse<s::ConsolePollRequest>(request));
    Session* session = TRY(find(q.console));
    if (TRY(answer_poll(*session, *job, q.wait_ms == 0))) return false;
    if (session->parked.size() >= 4) return Fail(Error::Full);
    job->until = Thread::now() + milliseconds(std::min<uint32_t>(q.wait_ms, 60'000));
    session->parked.push_back(std::move(job));
    return true;
}

// True if the job has its reply: all of it is taken, or its time is over (`now`).
Result<bool> ProcessService::State::answer_input(Session& session, Job& job, bool now) {
    Bytes request = job.request;
    auto q = TRY(parse<s::ConsoleInputRequest>(request));
    now = now || session.console->is_terminal(); // full of lines nobody reads: the client knows
    Result<uint64_t> taken = session.console->input(q.offset, request, q.end);
    bool early = !taken && taken.error() == Error::Range; // what comes before it is on its way
    if (!now && (early || (taken && *taken < q.offset + request.size()))) return false;
    s::ConsoleInputReply reply{};
    reply.accepted = TRY(taken);
    append_bytes(job.reply, bytes_of(reply));
    return true;
}

Result<bool> ProcessService::State::park_input(Own<Job>& job) {
    Bytes request = job->request;
    auto q = TRY(parse<s::ConsoleInputRequest>(request));
    Session* session = TRY(find(q.console));
    if (TRY(answer_input(*session, *job, false))) {
        look_at(*session, Thread::now()); // those that waited for this one
        return false;
    }
    if (session->inputs.size() >= 4) return Fail(Error::Full);
    job->until = Thread::now() + kInputWait;
    session->inputs.push_back(std::move(job));
    return true;
}

// The inputs of one session that wait.
Nanos ProcessService::State::look_at(Session& session, Nanos now) {
    Nanos next = kNever;
    for (size_t i = 0; i < session.inputs.size();) {
        Job& job = *session.inputs[i];
        Result<bool> done = answer_input(session, job, job.until <= now);
        if (done && !*done) {
            next = std::min(next, job.until);
            i++;
            continue;
        }
        session.heard = now;
        if (!done) job.outcome = Fail(done.error());
        finish(std::move(session.inputs[i]));
        session.inputs.erase(session.inputs.begin() + static_cast<ptrdiff_t>(i));
    }
    return next;
}

// Answers what can be answered; returns when to look again.
Nanos ProcessService::State::look_at_parked() {
    Nanos now = Thread::now(), next = kNever;
    std::vector<uint64_t> silent;
    for (auto& [id, session] : sessions) {
        for (size_t i = 0; i < session.parked.size();) {
            Job& job = *session.parked[i];
            Result<bool> done = answer_poll(session, job, job.until <= now);
            if (done && !*done) {
                next = std::min(next, job.until);
                // Bytes may be held back until then; if there are none, looking costs little.
                if (now - session.answered < kAnswerGap)
                    next = std::min(next, session.answered + kAnswerGap);
                i++;
                continue;
            }
            session.heard = now;
            if (!done) job.outcome = Fail(done.error());
            finish(std::move(session.parked[i]));
            session.parked.erase(session.parked.begin() + static_cast<ptrdiff_t>(i));
        }
        next = std::min(next, look_at(session, now));
        if (!session.parked.empty() || !session.inputs.empty()) continue;
        Nanos end = session.heard + (session.stopped ? kStoppedSilence : kSilence);
        if (end <= now)
            silent.push_back(id);
        else
            next = std::min(next, end);
    }
    for (uint64_t id : silent) {
        LOG(Info, "console", "a client has gone without a word: its console hangs up");
        close(id);
    }
    return next;
}

void ProcessService::State::close(uint64_t id) {
    auto found = sessions.find(id);
    if (found == sessions.end()) return;
    Session session = std::move(found->second);
    sessions.erase(found);
    for (auto* waiting : {&session.parked, &session.inputs})
        for (Own<Job>& job : *waiting) {
            job->outcome = Fail(Error::Cancelled);
            finish(std::move(job));
        }
    session.console->hang_up();
}

Result<void> ProcessService::State::signal(const s::SignalRequest& q) {
    int number = static_cast<int>(q.signal.get());
    if (q.console == 0) {
        Vnode* v = vnodes.find(VnodeId(q.vnode));
        if (!v) return Fail(Error::NotFound);
        return v->kill(Pid(q.pid), number);
    }
    Session* session = TRY(find(q.console));
    if (number) return session->console->signal(number);
    close(q.console);
    return {};
}

Result<void> ProcessService::State::list(Job& job) {
    Bytes request = job.request;
    uint32_t vnode = TRY(parse<Le32>(request)), first = TRY(parse<Le32>(request)), index = 0;
    for (Vnode* v : vnodes.all()) {
        if (vnode != 0 && v->id().value != vnode) continue;
        for (const ProcessSnapshot& p : v->snapshot()) {
            if (index++ < first || job.reply.size() + sizeof(s::ProcessEntry) > kMostBytes)
                continue;
            s::ProcessEntry e{};
            e.vnode = v->id().value;
            e.pid = p.pid.value;
            e.parent = p.parent.value;
            e.group = p.group.value;
            e.uid = p.uid;
            e.state = static_cast<unsigned char>(p.state);
            e.start_ns = static_cast<uint64_t>(p.started.value);
            e.cpu_ns = static_cast<uint64_t>(p.cpu_ns);
            e.resident_lines = p.memory.resident_lines;
            e.virtual_pages = p.memory.virtual_pages;
            std::memcpy(e.name, p.name.data(), std::min(p.name.size(), sizeof e.name - 1));
            append_bytes(job.reply, bytes_of(e));
        }
    }
    return {};
}

// --- the spawner ---

void ProcessService::State::spawn_loop() {
    for (;;) {
        Own<Job> job;
        {
            MutexGuard guard(mutex);
            while (to_spawn.empty() && !stopping)
                spawn_wanted.wait(mutex, kNever, kernel::Interruptible::No);
            if (stopping) return;
            job = std::move(to_spawn.front());
            to_spawn.pop_front();
        }
        uint64_t id;
        do
            id = random.next();
        while (id == 0);
        job->console = make_ref<Console>(*job->vnode, id, job->terminal, job->rows, job->columns);
        Ref<State> me(this);
        job->console->set_notify([me] { me->wake.signal(); });
        job->program.console = job->console;
        Result<Ref<Process>> p = start_program(*job->vnode, std::move(job->program));
        if (p) {
            s::SpawnReply reply{};
            reply.pid = (*p)->pid().value;
            reply.console = id;
            append_bytes(job->reply, bytes_of(reply));
        } else {
            job->outcome = Fail(p.error());
            job->console = nullptr;
        }
        MutexGuard guard(mutex);
        spawned.push_back(std::move(job));
        wake.signal();
    }
}

} // namespace tessera::pmon
