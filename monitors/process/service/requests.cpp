#include "monitors/process/service/state.hpp"

namespace tessera::pmon {

using kernel::MutexGuard;
using kernel::Thread;
using namespace posix;
namespace s = schema;

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

} // namespace tessera::pmon
