#include "monitors/process/syscall/dispatch.hpp"

#include <atomic>

#include "base/log.hpp"
#include "monitors/process/posix/process/process.hpp"
#include "monitors/process/syscall/errno.hpp"
#include "monitors/process/syscall/table.hpp"

namespace tessera::syscalls {
namespace {

struct Counter {
    std::atomic<uint64_t> calls{0}, errors{0};
};
Counter counters[kCallNumbers];
std::atomic<uint64_t> unimplemented{0};

// Number -> row, built once at the first call from a constant table.
struct Index {
    const Row* of[kCallNumbers] = {};
    Index() {
        for (const Row& r : rows())
            of[r.number] = &r;
    }
};
const Index& index() {
    static const Index i;
    return i;
}

} // namespace

const Row* row_of(uint64_t number) {
    return number < kCallNumbers ? index().of[number] : nullptr;
}

long dispatch(posix::Task& task, kernel::arch::UserRegisters& r) {
    uint64_t number = r.rax;
    Counter& count = counters[number < kCallNumbers ? number : kCallNumbers - 1];
    count.calls.fetch_add(1, std::memory_order_relaxed);
    const Row* row = row_of(number);
    if (!row) {
        if (count.errors.fetch_add(1, std::memory_order_relaxed) == 0)
            LOG(Info, "posix", "system call %lu is not implemented (%s)", number,
                task.process().name.c_str());
        unimplemented.fetch_add(1, std::memory_order_relaxed);
        return -kEnosys;
    }
    uint64_t arguments[6] = {r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9};
    Result<long> answer = row->run(task, arguments);
    if (answer) {
        task.restart = {};
        return *answer;
    }
    count.errors.fetch_add(1, std::memory_order_relaxed);
    if (answer.error() == Error::Interrupted) return kRestart;
    task.restart = {};
    return -errno_of(answer.error());
}

void for_each_count(Function<void(const CallCount&)> visit) {
    for (size_t n = 0; n < kCallNumbers; n++) {
        uint64_t calls = counters[n].calls.load(std::memory_order_relaxed);
        if (!calls) continue;
        const Row* row = row_of(n);
        visit({static_cast<uint16_t>(n), row ? row->name : "", calls,
               counters[n].errors.load(std::memory_order_relaxed), row != nullptr});
    }
}

uint64_t unimplemented_calls() {
    return unimplemented.load(std::memory_order_relaxed);
}

const char* call_name(uint64_t number) {
    const Row* row = row_of(number);
    return row ? row->name : "";
}

} // namespace tessera::syscalls
