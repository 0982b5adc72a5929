#include "base/hosted.hpp"

#include <sys/random.h>
#include <time.h>

#include <cstdio>
#include <cstdlib>

#include "base/assert.hpp"
#include "base/log.hpp"

namespace tessera {
namespace {
const char* program_name = "";
}

void assertion_failed(const char* expression, const char* file, int line) {
    std::fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, expression);
    std::abort();
}

Nanos HostClock::now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return Nanos{t.tv_sec * 1'000'000'000ll + t.tv_nsec};
}

uint64_t HostRandom::next() {
    if (left_ == 0) {
        size_t got = 0;
        while (got < sizeof buffer_) {
            ssize_t n = getrandom(reinterpret_cast<char*>(buffer_) + got, sizeof buffer_ - got, 0);
            if (n > 0) got += static_cast<size_t>(n);
        }
        left_ = sizeof buffer_ / sizeof buffer_[0];
    }
    return buffer_[--left_];
}

void log_to_stderr(const char* program) {
    program_name = program;
    set_log_sink([](LogLevel level, const char* area, std::string_view line) {
        const char* mark = level == LogLevel::Failure   ? " ERROR"
                           : level == LogLevel::Warning ? " warning"
                                                        : "";
        std::fprintf(stderr, "%s%s%s%s: %.*s\n", program_name, *program_name ? " " : "", area, mark,
                     static_cast<int>(line.size()), line.data());
    });
}

} // namespace tessera
