// A small vsnprintf for places without one (the kernel) and used everywhere so that logs agree.
// Supports %d %i %u %x %X %o %c %s %p %% with - 0 + # space, width, precision, * and hh h l ll z t
// j. No floating point. Always terminates the buffer; returns the length it would have needed.
#pragma once

#include <cstdarg>
#include <cstddef>

namespace tessera {

size_t format_arguments(char* out, size_t size, const char* format, va_list arguments);
[[gnu::format(printf, 3, 4)]] size_t format_text(char* out, size_t size, const char* format, ...);

} // namespace tessera
