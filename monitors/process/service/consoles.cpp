#include "base/log.hpp"
#include "monitors/process/service/state.hpp"

namespace tessera::pmon {

using kernel::Thread;
namespace s = schema;

namespace {

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

} // namespace

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

} // namespace tessera::pmon
