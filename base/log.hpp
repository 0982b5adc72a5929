// Log lines. LOG(Info, "net", "joined as node %u", id.value): printf-style, checked by the
// compiler.
//
// A line is formatted into a fixed buffer (longer ones are cut) and given to the sink that the
// environment installs: serial console, stderr, the simulator's trace. Never blocks, never
// allocates. Areas are short and lower case: boot, mm, net, roce, rpc, join, pmon, mmon, smon,
// store, gpm, ...
#pragma once

#include <cstdint>
#include <string_view>

namespace tessera {

enum class LogLevel : uint8_t { Debug, Info, Warning, Failure };

using LogSink = void (*)(LogLevel level, const char* area, std::string_view line);

void set_log_sink(LogSink sink);
void set_log_level(LogLevel least);
bool log_enabled(LogLevel level);

[[gnu::format(printf, 3, 4)]] void log_line(LogLevel level, const char* area, const char* format,
                                            ...);

} // namespace tessera

#define LOG(level, area, ...)                                                   \
    do {                                                                        \
        if (::tessera::log_enabled(::tessera::LogLevel::level))                 \
            ::tessera::log_line(::tessera::LogLevel::level, area, __VA_ARGS__); \
    } while (0)
