#include "monitors/process/service/state.hpp"

namespace tessera::pmon {

using kernel::MutexGuard;
using namespace posix;
namespace s = schema;

namespace {

// Takes the next NUL-terminated string off `from`. Malformed if there is none.
Result<std::string> take_string(Bytes& from) {
    std::string_view all = text_of(from);
    size_t end = all.find('\0');
    if (end == std::string_view::npos) return Fail(Error::Malformed);
    from = from.subspan(end + 1);
    return std::string(all.substr(0, end));
}

} // namespace

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
