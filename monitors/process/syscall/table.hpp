// The rows of the system call table, for dispatch, counting and tests.
#pragma once

#include <span>

#include "base/result.hpp"

namespace tessera::posix {
class Task;
}

namespace tessera::syscalls {

inline constexpr size_t kCallNumbers = 512; // beyond: ENOSYS, counted under the last

using Thunk = Result<long> (*)(posix::Task&, const uint64_t* arguments);

struct Row {
    uint16_t number;
    const char* name;
    Thunk run;
    bool never_restarts = false; // EINTR after a handler even with SA_RESTART (signal(7))
};

std::span<const Row> rows();
const Row* row_of(uint64_t number); // null: not implemented

} // namespace tessera::syscalls
