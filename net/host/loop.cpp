#include "net/host/loop.hpp"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace tessera::net::host {

namespace {
constexpr size_t kMaxWatches = 256;
constexpr Nanos kLongestSleep = seconds(60);
} // namespace

Loop::Loop(Clock& clock) : clock_(clock), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    ASSERT(epoll_ >= 0);
}

Loop::~Loop() {
    if (signals_ >= 0) close(signals_);
    close(epoll_);
}

Result<void> Loop::catch_signals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return Fail(Error::Unsupported);
    signals_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals_ < 0) return Fail(Error::TooManyFiles);
    return watch(signals_, EPOLLIN, [this](uint32_t) {
        signalfd_siginfo info;
        if (read(signals_, &info, sizeof info) != sizeof info) return;
        signal_ = static_cast<int>(info.ssi_signo);
        stopping_ = true;
    });
}

Result<void> Loop::watch(int fd, uint32_t events, Function<void(uint32_t)> ready) {
    if (watches_.size() >= kMaxWatches) return Fail(Error::Full);
    auto w = std::make_unique<Watch>(Watch{fd, std::move(ready)});
    epoll_event e{};
    e.events = events;
    e.data.ptr = w.get();
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &e) != 0)
        return Fail(errno == EEXIST ? Error::Exists : Error::BadHandle);
    watches_.push_back(std::move(w));
    return {};
}

Result<void> Loop::change(int fd, uint32_t events) {
    for (auto& w : watches_) {
        if (w->fd != fd) continue;
        epoll_event e{};
        e.events = events;
        e.data.ptr = w.get();
        if (epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &e) != 0) return Fail(Error::BadHandle);
        return {};
    }
    return Fail(Error::NotFound);
}

void Loop::unwatch(int fd) {
    for (size_t i = 0; i < watches_.size(); i++) {
        if (watches_[i]->fd != fd) continue;
        epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
        watches_[i]->fd = -1; // an event of this round may still point at it
        dead_.push_back(std::move(watches_[i]));
        watches_.erase(watches_.begin() + static_cast<ptrdiff_t>(i));
        return;
    }
}

void Loop::add(Function<unsigned()> poll, Function<Nanos()> deadline) {
    pollables_.push_back(
        std::make_unique<Pollable>(Pollable{std::move(poll), std::move(deadline)}));
}

void Loop::run_once(Nanos longest) {
    Nanos now = clock_.now();
    Nanos next = now + std::min(longest, kLongestSleep);
    for (auto& p : pollables_)
        next = std::min(next, p->deadline());
    int64_t wait = std::max<int64_t>(0, (next - now).value);
    timespec t{wait / 1'000'000'000, wait % 1'000'000'000};
    std::array<epoll_event, 32> events;
    int n = epoll_pwait2(epoll_, events.data(), static_cast<int>(events.size()), &t, nullptr);
    for (int i = 0; i < n; i++) {
        auto* w = static_cast<Watch*>(events[static_cast<size_t>(i)].data.ptr);
        if (w->fd >= 0) w->ready(events[static_cast<size_t>(i)].events);
    }
    // Twice: what a later one queued for an earlier one goes out in the same round.
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < pollables_.size(); i++)
            pollables_[i]->poll();
    dead_.clear();
}

int Loop::run() {
    stopping_ = false;
    signal_ = 0;
    while (!stopping_)
        run_once(kLongestSleep);
    return signal_;
}

} // namespace tessera::net::host
