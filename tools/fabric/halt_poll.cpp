#include "tools/fabric/halt_poll.hpp"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace tessera::fabric {
namespace {
constexpr unsigned kMostThreads = 4; // on a larger host the scheduler finds other CPUs to halt
} // namespace

HaltPoll::HaltPoll(Clock& clock, unsigned threads) : clock_(clock) {
    for (unsigned i = 0; i < threads; i++)
        threads_.emplace_back([this, i] { spin(i); });
}

HaltPoll::~HaltPoll() {
    {
        std::lock_guard guard(mutex_);
        stop_ = true;
    }
    more_.notify_all();
    for (std::thread& t : threads_)
        t.join();
}

void HaltPoll::on_traffic(Nanos now) {
    if (threads_.empty()) return;
    bool close = now - last_ < kClose;
    last_ = now;
    if (!close) return;
    until_.store((now + kLinger).value);
    if (sleeping_.load() == 0) return;
    {
        std::lock_guard guard(mutex_);
    } // who decides to sleep has seen until_
    more_.notify_all();
}

// Each on a processor of its own: the scheduler does not spread what is idle.
void HaltPoll::pin(unsigned number) {
    cpu_set_t allowed, mine;
    CPU_ZERO(&mine);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && number-- == 0) CPU_SET(cpu, &mine);
    if (CPU_COUNT(&mine)) sched_setaffinity(0, sizeof mine, &mine);
}

void HaltPoll::spin(unsigned number) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr); // signals are for the switch's thread
    pin(number);
    sched_param lowest{};
    if (pthread_setschedparam(pthread_self(), SCHED_IDLE, &lowest) != 0) return; // never in the way
    while (!stop_) {
        while (clock_.now().value < until_.load(std::memory_order_relaxed))
            for (int i = 0; i < 32; i++)
                __builtin_ia32_pause();
        std::unique_lock lock(mutex_);
        sleeping_++;
        more_.wait(lock, [&] { return stop_ || clock_.now().value < until_.load(); });
        sleeping_--;
    }
}

unsigned HaltPoll::most_threads() {
    return std::min(std::thread::hardware_concurrency(), kMostThreads);
}

unsigned HaltPoll::threads_for_this_host() {
    unsigned cpus = std::thread::hardware_concurrency();
    if (cpus > kMostThreads) return 0;
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);)
        if (line.starts_with("flags"))
            return line.find(" hypervisor") != std::string::npos ? cpus : 0;
    return 0;
}

} // namespace tessera::fabric
