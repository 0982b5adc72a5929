#include "tools/tess/console.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "net/host/loop.hpp"
#include "net/schema/process.hpp"
#include "tools/tess/guardian.hpp"

namespace tessera::tess {
namespace {

using schema::ConsoleState;

constexpr int kOwnTrouble = 125, kNotExecutable = 126, kNotFound = 127;
constexpr size_t kInputChunk = 32 * 1024;   // in one request
constexpr size_t kInputBuffer = 128 * 1024; // read ahead of what the program has taken
constexpr unsigned kInputCalls = 3;         // requests under way: none waits for another's way
constexpr Nanos kFirstInputPause = milliseconds(20), kLongestInputPause = milliseconds(500);
constexpr Nanos kForegroundLook = milliseconds(250); // whether the terminal is ours again
constexpr uint32_t kPollWait = 5000;                 // ms a poll may be held by the pComponent
constexpr Nanos kRetry = milliseconds(200);
constexpr Nanos kSignOfLife = seconds(10); // while nobody reads our output, and so no poll goes out
constexpr Nanos kSilence = milliseconds(kPollWait + 1000);

void say(const std::string& text) {
    std::fprintf(stderr, "tess: %s\n", text.c_str());
}

// The local terminal in raw mode, for as long as wanted.
class RawTerminal {
  public:
    explicit RawTerminal(Guardian& guardian) : guardian_(guardian) {}
    ~RawTerminal() { restore(); }
    void enter() {
        if (!isatty(0) || raw_ || tcgetattr(0, &saved_) != 0) return;
        guardian_.terminal_changed(saved_);
        termios t = saved_;
        cfmakeraw(&t);
        raw_ = tcsetattr(0, TCSADRAIN, &t) == 0;
    }
    void restore() {
        if (!raw_) return;
        tcsetattr(0, TCSADRAIN, &saved_);
        raw_ = false;
        guardian_.terminal_restored();
    }

  private:
    Guardian& guardian_;
    termios saved_{};
    bool raw_ = false;
};

void terminal_size(uint16_t& rows, uint16_t& columns) {
    winsize w{};
    rows = 24, columns = 80;
    if ((ioctl(0, TIOCGWINSZ, &w) == 0 || ioctl(1, TIOCGWINSZ, &w) == 0) && w.ws_row && w.ws_col)
        rows = w.ws_row, columns = w.ws_col;
}

// One of our own output streams. Never blocks: asks before each write of at most PIPE_BUF bytes.
class OutStream {
  public:
    OutStream(net::host::Loop& loop, int fd) : loop_(loop), fd_(fd) {}
    void add(std::string_view text) {
        if (!broken_) pending_.append(text);
        push();
    }
    bool idle() const { return pending_.empty(); }
    bool broken() const { return broken_; }
    // Everything out, waiting as long as it takes.
    void drain() {
        while (!pending_.empty()) {
            pollfd p{fd_, POLLOUT, 0};
            ::poll(&p, 1, -1);
            push();
        }
    }

  private:
    void push() {
        while (!pending_.empty()) {
            pollfd p{fd_, POLLOUT, 0};
            if (::poll(&p, 1, 0) == 0) break;
            ssize_t n = write(fd_, pending_.data(), std::min<size_t>(pending_.size(), 4096));
            if (n < 0 && (errno == EINTR || errno == EAGAIN)) break;
            if (n < 0) {
                broken_ = true;
                pending_.clear();
                break;
            }
            pending_.erase(0, static_cast<size_t>(n));
        }
        bool want = !pending_.empty();
        if (want == watched_) return;
        if (want)
            watched_ = loop_.watch(fd_, EPOLLOUT, [this](uint32_t) { push(); }).has_value();
        else
            loop_.unwatch(fd_), watched_ = false;
    }

    net::host::Loop& loop_;
    int fd_;
    std::string pending_;
    bool watched_ = false, broken_ = false;
};

template <typename T>
std::string as_text(const T& v) {
    return std::string(text_of(bytes_of(v)));
}

class Console {
  public:
    Console(Session& session, Guardian& guardian, const Place& place, const RunOptions& options)
        : session_(session),
          guardian_(guardian),
          place_(place),
          options_(options),
          raw_(guardian),
          out_(session.loop(), 1),
          error_(session.loop(), 2) {}

    int run() {
        if (int refused = spawn()) return refused;
        take_signals();
        if (options_.terminal) raw_.enter();
        session_.loop().add([this] { return tick(), 0u; }, [this] { return deadline(); });
        watch_input();
        heard_ = session_.clock().now();
        poll_console();
        while (!done_)
            session_.loop().run_once(seconds(1));
        out_.drain();
        error_.drain();
        raw_.restore();
        forget();
        if (!reason_.empty()) say(options_.arguments[0] + ": " + reason_);
        return status_;
    }

  private:
    static bool between_incarnations(Error e) {
        return e == Error::Lost || e == Error::Dead || e == Error::Io;
    }
    // 0, or the exit status for a program that could not be started.
    int spawn() {
        schema::SpawnRequest q;
        q.vnode = place_.vnode;
        q.terminal = options_.terminal;
        std::vector<std::string> environment = options_.environment;
        auto add_default = [&](const char* name, const char* value) {
            std::string prefix = std::string(name) + "=";
            if (std::none_of(environment.begin(), environment.end(),
                             [&](const std::string& e) { return e.starts_with(prefix); }))
                environment.push_back(prefix + value);
        };
        add_default("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        add_default("HOME", "/root");
        if (options_.terminal) {
            const char* term = std::getenv("TERM");
            add_default("TERM", term && *term ? term : "vt100");
            uint16_t rows, columns;
            terminal_size(rows, columns);
            q.rows = rows;
            q.columns = columns;
        }
        q.argc = static_cast<uint16_t>(options_.arguments.size());
        q.envc = static_cast<uint16_t>(environment.size());
        std::string request = as_text(q);
        for (const std::vector<std::string>* list :
             {&options_.arguments, &std::as_const(environment)})
            for (const std::string& s : *list)
                request.append(s.c_str(), s.size() + 1);
        request.append(options_.directory.c_str(), options_.directory.size() + 1);
        if (request.size() > rpc::kMaxMessage) {
            say("arguments and environment are too long: " + std::to_string(request.size()) +
                " bytes, at most " + std::to_string(rpc::kMaxMessage));
            return kOwnTrouble;
        }
        auto reply = session_.call(place_.ip, schema::kSpawn, request, options_.patience);
        // A component that has just come back may not have been found again; nothing has started.
        for (int i = 0; i < 10 && !reply && between_incarnations(reply.error()); i++) {
            std::this_thread::sleep_for(std::chrono::milliseconds(200));
            reply = session_.call(place_.ip, schema::kSpawn, request, options_.patience);
        }
        const std::string& program = options_.arguments[0];
        if (!reply) {
            switch (reply.error()) {
                case Error::NotFound:
                    say(program + ": not found in vNode " + options_.vnode + " (or the folder " +
                        options_.directory + " is not there)");
                    return kNotFound;
                case Error::NotExecutable:
                case Error::Malformed:
                    say(program + ": Exec format error: vNode " + options_.vnode +
                        " runs static x86-64 ELF files and #! scripts");
                    return kNotExecutable;
                case Error::AccessDenied:
                    say(program + ": permission denied");
                    return kNotExecutable;
                case Error::NameTooLong:
                    say(program.substr(0, 60) + ": the path or the folder's is too long");
                    return kNotExecutable;
                case Error::TooManyLinks:
                    say(program + ": too many levels of links or of #! scripts");
                    return kNotExecutable;
                case Error::NotDirectory:
                case Error::IsDirectory:
                    say(program + ": " + std::string(describe(reply.error())));
                    return kNotExecutable;
                case Error::TooBig:
                    say(program + ": arguments and environment are too long");
                    return kNotExecutable;
                case Error::NoMemory:
                    say(program + ": vNode " + options_.vnode + " has no memory left to start it");
                    return kOwnTrouble;
                default:
                    say(call_problem(place_.component, reply.error()));
                    return kOwnTrouble;
            }
        }
        if (reply->size() < sizeof(schema::SpawnReply)) {
            say(place_.component + " sent a malformed reply");
            return kOwnTrouble;
        }
        console_ = load<schema::SpawnReply>(bytes_of(std::string_view(*reply))).console;
        guardian_.program_started(place_.ip, console_);
        if (auto peer = session_.peer(place_.ip)) incarnation_ = (*peer)->identity().incarnation;
        return 0;
    }

    // ---- output

    void poll_console() {
        if (polling_ || done_ || !out_.idle() || !error_.idle()) return;
        schema::ConsolePollRequest q;
        q.console = console_;
        q.out_offset = out_offset_;
        q.error_offset = error_offset_;
        q.wait_ms = ended_ ? 200 : kPollWait;
        polling_ = call(schema::kConsolePoll, as_text(q), {}, milliseconds(kPollWait + 5000),
                        [this](Result<Bytes> reply) { on_output(reply); });
    }

    void on_output(Result<Bytes> reply) {
        polling_ = false;
        if (!reply) return on_failure(reply.error());
        if (reply->size() < sizeof(schema::ConsolePollReply)) return on_failure(Error::Malformed);
        auto r = load<schema::ConsolePollReply>(*reply);
        Bytes rest = reply->subspan(sizeof r);
        if (rest.size() < uint64_t{r.out_length} + r.error_length)
            return on_failure(Error::Malformed);
        heard_ = session_.clock().now();
        out_.add(text_of(rest.first(r.out_length)));
        error_.add(text_of(rest.subspan(r.out_length, r.error_length)));
        out_offset_ += r.out_length;
        error_offset_ += r.error_length;
        if (out_.broken() && !told_broken_) {
            told_broken_ = true; // nobody reads any more: what a pipe would say
            pass_on(SIGPIPE);
        }
        auto state = static_cast<ConsoleState>(r.state);
        if (state == ConsoleState::Exited || state == ConsoleState::Killed) {
            status_ = state == ConsoleState::Exited ? r.code : 128 + r.code;
            r.reason[sizeof r.reason - 1] = 0;
            reason_ = r.reason;
            bool empty = r.out_length == 0 && r.error_length == 0;
            if ((r.out_end && r.error_end) || (ended_ && empty)) done_ = true;
            ended_ =
                true; // background children may still hold the streams: one more look, not for ever
        } else if (state == ConsoleState::Stopped) {
            suspend();
        }
        send_input();
    }

    // ---- input

    void watch_input() {
        // Regular files and /dev/null cannot be watched: they are always ready.
        input_ready_ =
            !session_.loop().watch(0, EPOLLIN, [this](uint32_t) { read_input(); }).has_value();
        input_watched_ = !input_ready_;
        if (input_ready_) read_input();
    }
    void unwatch_input() {
        if (input_watched_) session_.loop().unwatch(0);
        input_watched_ = false;
    }

    void read_input() {
        if (input_end_) return;
        if (input_.size() >= kInputBuffer)
            return unwatch_input(); // enough until the program has taken some
        if (isatty(0) &&
            tcgetpgrp(0) != getpgrp()) { // in the background: a read would stop us, and
            unwatch_input();             // wait for the terminal's next line afterwards
            input_look_ = session_.clock().now() + kForegroundLook;
            return;
        }
        do {
            char chunk[kInputChunk];
            ssize_t n = read(0, chunk, sizeof chunk);
            if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
            if (n <= 0) {
                input_end_ = true;
                unwatch_input();
            } else {
                input_.append(chunk, static_cast<size_t>(n));
            }
        } while (input_ready_ && !input_end_ && input_.size() < kInputBuffer);
        send_input();
    }

    // Several requests are under way, each with the next piece. If one is not taken whole, those
    // behind it come to nothing: when all are back, it goes on from what was taken.
    void send_input() {
        if (again_ && sending_ > 0) return;
        if (again_) {
            again_ = end_sent_ = false;
            sent_to_ = input_offset_;
        }
        while (sending_ < kInputCalls && !ended_ && !done_) {
            auto from = static_cast<size_t>(sent_to_ - input_offset_);
            std::string piece = input_.substr(from, kInputChunk);
            bool end = input_end_ && from + piece.size() == input_.size();
            if (piece.empty() && (!end || end_sent_)) return;
            schema::ConsoleInputRequest q;
            q.console = console_;
            q.offset = sent_to_;
            q.end = end;
            if (!call(schema::kConsoleInput, as_text(q), piece, milliseconds(10'000),
                      [this, upto = sent_to_ + piece.size()](Result<Bytes> reply) {
                          on_input(upto, reply);
                      })) {
                retry_at_ = session_.clock().now() + kRetry;
                return;
            }
            sending_++;
            sent_to_ += piece.size();
            end_sent_ = end;
        }
    }

    void on_input(uint64_t upto, Result<Bytes> reply) {
        sending_--;
        again_ |= !reply;
        if (!reply) return on_failure(reply.error());
        if (reply->size() < sizeof(schema::ConsoleInputReply)) return on_failure(Error::Malformed);
        uint64_t accepted = load<schema::ConsoleInputReply>(*reply).accepted;
        if (accepted > input_offset_ + input_.size()) return on_failure(Error::Malformed);
        heard_ = session_.clock().now();
        again_ |= accepted < upto;
        if (accepted > input_offset_) { // an answer that was overtaken names less than is known
            input_.erase(0, static_cast<size_t>(accepted - input_offset_));
            input_offset_ = accepted;
            input_pause_ = kFirstInputPause;
        } else if (accepted < upto) { // a terminal whose program does not read
            retry_at_ = heard_ + input_pause_;
            input_pause_ = std::min(input_pause_ * 2, kLongestInputPause);
            return;
        }
        if (!input_end_ && input_.size() < kInputBuffer) {
            if (input_ready_)
                read_input();
            else if (!input_watched_)
                watch_input();
        }
        send_input();
    }

    // ---- signals

    void take_signals() {
        sigset_t set;
        sigemptyset(&set);
        for (int s : {SIGWINCH, SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGTSTP})
            sigaddset(&set, s);
        sigprocmask(SIG_BLOCK, &set, nullptr);
        signals_ = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
        signal(SIGPIPE, SIG_IGN); // the program is told instead, and its end is ours
        (void)session_.loop().watch(signals_, EPOLLIN, [this](uint32_t) {
            signalfd_siginfo info;
            while (read(signals_, &info, sizeof info) == sizeof info)
                on_signal(static_cast<int>(info.ssi_signo));
        });
    }

    void on_signal(int s) {
        if (s == SIGWINCH) {
            if (!options_.terminal) return;
            schema::ConsoleResizeRequest q;
            q.console = console_;
            uint16_t rows, columns;
            terminal_size(rows, columns);
            q.rows = rows;
            q.columns = columns;
            call(schema::kConsoleResize, as_text(q), {}, milliseconds(5000), [](Result<Bytes>) {});
            return;
        }
        if (++signals_seen_ > 3 && (s == SIGINT || s == SIGTERM)) { // it does not react: leave it
            raw_.restore();
            say("giving up on " + options_.arguments[0]);
            status_ = 128 + s;
            done_ = true;
            return;
        }
        pass_on(s);
    }

    void pass_on(int s) {
        schema::SignalRequest q;
        q.console = console_;
        q.vnode = place_.vnode;
        q.signal = static_cast<uint32_t>(s);
        call(schema::kSignal, as_text(q), {}, milliseconds(5000), [](Result<Bytes>) {});
    }

    // The program has stopped: so do we, and go on together.
    void suspend() {
        out_.drain();
        raw_.restore();
        kill(getpid(), SIGSTOP);
        if (options_.terminal) raw_.enter();
        on_signal(SIGWINCH);
        signals_seen_ = 0;
        heard_ = session_.clock().now();
        pass_on(SIGCONT);
    }

    // ---- common

    // False: it could not even be queued; tick() tries again.
    template <typename F>
    bool call(rpc::Opcode opcode, const std::string& head, const std::string& body, Nanos limit,
              F done) {
        auto peer = session_.peer(place_.ip);
        if (!peer) return false;
        (*peer)->call(opcode, bytes_of(std::string_view(head)), bytes_of(std::string_view(body)),
                      {session_.clock().now() + limit, true}, std::move(done));
        return true;
    }

    void on_failure(Error e) {
        Nanos now = session_.clock().now();
        bool lasting = e == Error::BadHandle || e == Error::NotFound || e == Error::Stale ||
                       e == Error::Dead || e == Error::Malformed || e == Error::Unauthenticated ||
                       e == Error::VersionMismatch;
        if (ended_ || lasting || now - heard_ > milliseconds(options_.patience.count())) {
            auto peer = session_.peer(place_.ip);
            bool anew = peer && (*peer)->identity().incarnation != incarnation_;
            lose(anew ? place_.component + " has started anew" : call_problem(place_.component, e));
            return;
        }
        retry_at_ = now + kRetry;
    }

    // Nothing was heard for longer than a poll may take: GPM knows whether it still can be.
    void look_for_component(Nanos now) {
        if (now < heard_ + kSilence || now < next_look_) return;
        next_look_ = now + kSilence / 4;
        auto gpm = session_.peer(session_.gpm());
        if (!gpm) return;
        (*gpm)->call(schema::kStatus, {}, {}, {now + kSilence, true}, [this](Result<Bytes> reply) {
            control::StatusReply r;
            if (done_ || !reply ||
                !r.ParseFromArray(reply->data(), static_cast<int>(reply->size())))
                return;
            for (const auto& c : r.components()) {
                if (c.component().name() != place_.component) continue;
                bool same = Incarnation(c.component().incarnation()) == incarnation_;
                if (same && c.component().state() != control::COMPONENT_DEAD) return;
                lose(place_.component + (same ? " is dead" : " has started anew"));
            }
        });
    }

    void lose(const std::string& why) {
        if (!ended_) {
            raw_.restore(); // or the line would not end where it should
            say("lost the program: " + why);
            status_ = kOwnTrouble;
        }
        done_ = true;
    }

    void tick() {
        if (done_) return;
        Nanos now = session_.clock().now();
        look_for_component(now);
        if (retry_at_ <= now) {
            retry_at_ = kNever;
            poll_console();
            send_input();
        } else if (retry_at_ == kNever) {
            poll_console(); // a drained stream lets the next poll go out
        }
        if (!input_end_ && !input_ready_ && !input_watched_ && input_.size() < kInputBuffer &&
            now >= input_look_)
            watch_input(); // in the foreground again, perhaps
        if (polling_) {
            alive_ = now;
        } else if (now - alive_ > kSignOfLife) { // or the pComponent takes us for dead
            alive_ = now;
            schema::ConsoleInputRequest q;
            q.console = console_;
            q.offset = input_offset_;
            q.end = 0;
            call(schema::kConsoleInput, as_text(q), {}, milliseconds(5000), [](Result<Bytes>) {});
        }
    }
    Nanos deadline() const {
        Nanos look = !input_end_ && !input_ready_ && !input_watched_ && input_.size() < kInputBuffer
                         ? input_look_
                         : kNever;
        return std::min({retry_at_, look, std::max(heard_ + kSilence, next_look_)});
    }

    // The pComponent may drop the console now; best effort, briefly.
    void forget() {
        schema::SignalRequest q;
        q.console = console_;
        call(schema::kSignal, as_text(q), {}, milliseconds(300),
             [this](Result<Bytes>) { forgotten_ = true; });
        for (int i = 0; i < 30 && !forgotten_; i++)
            session_.loop().run_once(milliseconds(10));
    }

    Session& session_;
    Guardian& guardian_;
    Place place_;
    const RunOptions& options_;
    RawTerminal raw_;
    OutStream out_, error_;
    uint64_t console_ = 0;
    uint64_t out_offset_ = 0, error_offset_ = 0, input_offset_ = 0;
    std::string input_;    // read but not yet accepted
    uint64_t sent_to_ = 0; // of it, what requests under way carry
    unsigned sending_ = 0;
    bool again_ = false; // something was not taken whole
    bool input_end_ = false, end_sent_ = false, input_ready_ = false, input_watched_ = false;
    Nanos input_pause_ = kFirstInputPause, input_look_{0};
    bool polling_ = false, ended_ = false, done_ = false, told_broken_ = false, forgotten_ = false;
    Nanos heard_{0}, alive_{0}, next_look_{0};
    Incarnation incarnation_; // of the component that runs it
    Nanos retry_at_ = kNever;
    int signals_ = -1;
    unsigned signals_seen_ = 0;
    int status_ = kOwnTrouble;
    std::string reason_;
};

} // namespace

Outcome<Place> place_program(Session& session, const std::string& vnode) {
    control::PlaceProgramRequest q;
    q.set_vnode(vnode);
    auto r = session.ask<control::PlaceProgramReply>(session.gpm(), schema::kPlaceProgram, q,
                                                     std::chrono::seconds(20));
    if (!r && r.error() == Error::NotFound)
        return Trouble("no vNode called '" + vnode + "'; `tess vnode list` shows what there is");
    if (!r && r.error() == Error::NoDevice) return Trouble(missing_problem(session));
    if (!r) return Trouble(call_problem("gpm", r.error()));
    return Place{r->vnode(), r->ip(), r->component()};
}

int run_program(Session& session, const Paths& paths, const Place& place,
                const RunOptions& options) {
    Guardian guardian(paths, session.config());
    // Loop callbacks refer to the console, and the loop outlives it: it is freed with the program.
    auto* console = new Console(session, guardian, place, options);
    return console->run();
}

} // namespace tessera::tess
