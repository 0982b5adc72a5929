#include "monitors/process/service/service.hpp"

#include "monitors/process/service/state.hpp"

namespace tessera::pmon {

using kernel::MutexGuard;
using kernel::Thread;
namespace s = schema;

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

void ProcessService::forget(posix::Vnode& vnode) {
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

void ProcessService::State::finish(Own<Job> job) {
    bool fits = answered.push(job.release());
    ASSERT(fits);
    Ref<State> me(this);
    // A full inbox is no loss: ProcessService::poll() delivers what waits.
    (void)shard.post([me] { me->deliver(); });
}

} // namespace tessera::pmon
