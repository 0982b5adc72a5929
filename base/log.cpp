#include "base/log.hpp"

#include <atomic>
#include <cstdarg>

#include "base/format.hpp"

namespace tessera {
namespace {
std::atomic<LogSink> sink{nullptr};
std::atomic<LogLevel> least_level{LogLevel::Info};
} // namespace

void set_log_sink(LogSink s) {
    sink.store(s);
}

void set_log_level(LogLevel l) {
    least_level.store(l);
}

bool log_enabled(LogLevel l) {
    return l >= least_level.load(std::memory_order_relaxed);
}

void log_line(LogLevel level, const char* area, const char* format, ...) {
    LogSink s = sink.load();
    if (!s) return;
    char line[400];
    va_list arguments;
    va_start(arguments, format);
    size_t n = format_arguments(line, sizeof line, format, arguments);
    va_end(arguments);
    if (n >= sizeof line) n = sizeof line - 1;
    s(level, area, std::string_view(line, n));
}

} // namespace tessera
