#include "base/format.hpp"

#include <cstdint>

namespace tessera {
namespace {

struct Output {
    char* at;
    size_t room; // including the terminator
    size_t length = 0;

    void put(char c) {
        if (length + 1 < room) at[length] = c;
        length++;
    }
    void pad(char c, int n) {
        for (; n > 0; n--)
            put(c);
    }
};

struct Spec {
    bool left = false, zero = false, plus = false, alternate = false, space = false;
    int width = 0;
    int precision = -1;
};

void put_number(Output& out, Spec spec, uint64_t magnitude, bool negative, unsigned base,
                bool upper, bool is_signed) {
    char digits[24];
    int n = 0;
    const char* table = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    bool zero_value = magnitude == 0;
    do {
        digits[n++] = table[magnitude % base];
        magnitude /= base;
    } while (magnitude);
    if (spec.precision == 0 && zero_value) n = 0;
    char prefix[3];
    int prefix_length = 0;
    if (is_signed && negative)
        prefix[prefix_length++] = '-';
    else if (is_signed && spec.plus)
        prefix[prefix_length++] = '+';
    else if (is_signed && spec.space)
        prefix[prefix_length++] = ' ';
    if (spec.alternate && base == 16 && !zero_value) {
        prefix[prefix_length++] = '0';
        prefix[prefix_length++] = upper ? 'X' : 'x';
    }
    int zeros = spec.precision > n ? spec.precision - n : 0;
    if (spec.alternate && base == 8 && zeros == 0 && (n == 0 || digits[n - 1] != '0')) zeros = 1;
    int fill = spec.width - prefix_length - zeros - n;
    if (!spec.left && spec.zero && spec.precision < 0) {
        if (fill > 0) zeros += fill;
        fill = 0;
    }
    if (!spec.left) out.pad(' ', fill);
    for (int i = 0; i < prefix_length; i++)
        out.put(prefix[i]);
    out.pad('0', zeros);
    while (n > 0)
        out.put(digits[--n]);
    if (spec.left) out.pad(' ', fill);
}

void put_text(Output& out, Spec spec, const char* s) {
    if (!s) s = "(null)";
    int n = 0;
    while ((spec.precision < 0 || n < spec.precision) && s[n])
        n++;
    if (!spec.left) out.pad(' ', spec.width - n);
    for (int i = 0; i < n; i++)
        out.put(s[i]);
    if (spec.left) out.pad(' ', spec.width - n);
}

} // namespace

size_t format_arguments(char* buffer, size_t size, const char* f, va_list arguments) {
    Output out{buffer, size};
    for (; *f; f++) {
        if (*f != '%') {
            out.put(*f);
            continue;
        }
        f++;
        Spec spec;
        for (;; f++) {
            if (*f == '-')
                spec.left = true;
            else if (*f == '0')
                spec.zero = true;
            else if (*f == '+')
                spec.plus = true;
            else if (*f == '#')
                spec.alternate = true;
            else if (*f == ' ')
                spec.space = true;
            else
                break;
        }
        auto number = [&](int& into) {
            if (*f == '*') {
                into = va_arg(arguments, int);
                f++;
                return;
            }
            into = 0;
            while (*f >= '0' && *f <= '9')
                into = into * 10 + (*f++ - '0');
        };
        number(spec.width);
        if (spec.width < 0) {
            spec.left = true;
            spec.width = -spec.width;
        }
        if (*f == '.') {
            f++;
            number(spec.precision);
        }
        int size_class = 0; // -2 hh, -1 h, 0 int, 1 long and wider
        for (;; f++) {
            if (*f == 'h')
                size_class--;
            else if (*f == 'l' || *f == 'z' || *f == 't' || *f == 'j')
                size_class = 1;
            else
                break;
        }
        auto fetch_signed = [&]() -> int64_t {
            if (size_class > 0) return va_arg(arguments, long);
            int v = va_arg(arguments, int);
            return size_class == -1 ? (short)v : size_class <= -2 ? (signed char)v : v;
        };
        auto fetch_unsigned = [&]() -> uint64_t {
            if (size_class > 0) return va_arg(arguments, unsigned long);
            unsigned v = va_arg(arguments, unsigned);
            return size_class == -1 ? (unsigned short)v : size_class <= -2 ? (unsigned char)v : v;
        };
        switch (*f) {
            case 'd':
            case 'i': {
                int64_t v = fetch_signed();
                uint64_t magnitude =
                    v < 0 ? 0 - static_cast<uint64_t>(v) : static_cast<uint64_t>(v);
                put_number(out, spec, magnitude, v < 0, 10, false, true);
                break;
            }
            case 'u':
                put_number(out, spec, fetch_unsigned(), false, 10, false, false);
                break;
            case 'x':
                put_number(out, spec, fetch_unsigned(), false, 16, false, false);
                break;
            case 'X':
                put_number(out, spec, fetch_unsigned(), false, 16, true, false);
                break;
            case 'o':
                put_number(out, spec, fetch_unsigned(), false, 8, false, false);
                break;
            case 'p':
                spec.alternate = true;
                put_number(out, spec, reinterpret_cast<uintptr_t>(va_arg(arguments, void*)), false,
                           16, false, false);
                break;
            case 'c': {
                char c[2] = {static_cast<char>(va_arg(arguments, int)), 0};
                put_text(out, spec, c);
                break;
            }
            case 's':
                put_text(out, spec, va_arg(arguments, const char*));
                break;
            case '%':
                out.put('%');
                break;
            case 0:
                f--;
                break;
            default:
                out.put('%');
                out.put(*f);
        }
    }
    if (size) buffer[out.length < size ? out.length : size - 1] = 0;
    return out.length;
}

size_t format_text(char* out, size_t size, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    size_t n = format_arguments(out, size, format, arguments);
    va_end(arguments);
    return n;
}

} // namespace tessera
