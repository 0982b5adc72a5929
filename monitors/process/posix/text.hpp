// append: printf onto a std::string, for the text files of /proc and names.
#pragma once

#include <cstdarg>
#include <string>

#include "base/format.hpp"

namespace tessera::posix {

[[gnu::format(printf, 2, 3)]] inline void append(std::string& s, const char* format, ...) {
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    size_t n = format_arguments(line, sizeof line, format, arguments);
    va_end(arguments);
    s.append(line, n < sizeof line ? n : sizeof line - 1);
}

inline std::string decimal(uint64_t n) {
    std::string s;
    append(s, "%lu", n);
    return s;
}

} // namespace tessera::posix
