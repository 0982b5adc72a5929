// mem* and str*: what the compiler and libc++ expect to find. Eight bytes at a time, four times
// unrolled: under QEMU's TCG `rep movsb` is ten times slower, on hardware the difference is small.
// Compiled with -fno-builtin, or the compiler would turn these loops into calls to themselves.

#include <cstddef>
#include <cstdint>

namespace {
// Unaligned access that may alias anything.
struct __attribute__((packed, may_alias)) Word {
    uint64_t v;
};
Word* word(void* p) {
    return static_cast<Word*>(p);
}
const Word* word(const void* p) {
    return static_cast<const Word*>(p);
}
} // namespace

extern "C" {

void* memcpy(void* __restrict to, const void* __restrict from, size_t n) {
    auto* t = static_cast<unsigned char*>(to);
    auto* f = static_cast<const unsigned char*>(from);
    for (; n >= 32; n -= 32, t += 32, f += 32) {
        uint64_t a = word(f)[0].v, b = word(f)[1].v, c = word(f)[2].v, d = word(f)[3].v;
        word(t)[0].v = a;
        word(t)[1].v = b;
        word(t)[2].v = c;
        word(t)[3].v = d;
    }
    for (; n >= 8; n -= 8, t += 8, f += 8)
        word(t)->v = word(f)->v;
    for (; n > 0; n--)
        *t++ = *f++;
    return to;
}

void* memmove(void* to, const void* from, size_t n) {
    auto* t = static_cast<unsigned char*>(to);
    auto* f = static_cast<const unsigned char*>(from);
    if (t <= f || t >= f + n) {
        if (t + 32 <= f || t >= f + n) return memcpy(to, from, n);
        for (; n >= 8 && t + 8 <= f; n -= 8, t += 8, f += 8)
            word(t)->v = word(f)->v;
        for (; n > 0; n--)
            *t++ = *f++;
        return to;
    }
    for (; n >= 8 && f + 8 <= t; n -= 8) {
        uint64_t v = word(f + n - 8)->v;
        word(t + n - 8)->v = v;
    }
    for (; n > 0; n--)
        t[n - 1] = f[n - 1];
    return to;
}

void* memset(void* to, int value, size_t n) {
    auto* t = static_cast<unsigned char*>(to);
    uint64_t v = 0x0101010101010101ull * static_cast<unsigned char>(value);
    for (; n >= 32; n -= 32, t += 32) {
        word(t)[0].v = v;
        word(t)[1].v = v;
        word(t)[2].v = v;
        word(t)[3].v = v;
    }
    for (; n >= 8; n -= 8, t += 8)
        word(t)->v = v;
    for (; n > 0; n--)
        *t++ = static_cast<unsigned char>(value);
    return to;
}

int memcmp(const void* left, const void* right, size_t n) {
    auto* a = static_cast<const unsigned char*>(left);
    auto* b = static_cast<const unsigned char*>(right);
    for (; n >= 8 && word(a)->v == word(b)->v; n -= 8, a += 8, b += 8) {
    }
    for (; n > 0; n--, a++, b++) {
        if (*a != *b) return *a < *b ? -1 : 1;
    }
    return 0;
}

int bcmp(const void* a, const void* b, size_t n) {
    return memcmp(a, b, n);
}

void* memchr(const void* in, int value, size_t n) {
    auto* p = static_cast<const unsigned char*>(in);
    for (; n > 0; n--, p++) {
        if (*p == static_cast<unsigned char>(value)) return const_cast<unsigned char*>(p);
    }
    return nullptr;
}

size_t strlen(const char* s) {
    size_t n = 0;
    while (s[n])
        n++;
    return n;
}

size_t strnlen(const char* s, size_t limit) {
    size_t n = 0;
    while (n < limit && s[n])
        n++;
    return n;
}

int strcmp(const char* a, const char* b) {
    while (*a && *a == *b)
        a++, b++;
    return static_cast<unsigned char>(*a) - static_cast<unsigned char>(*b);
}

int strncmp(const char* a, const char* b, size_t n) {
    while (n && *a && *a == *b)
        a++, b++, n--;
    return n ? static_cast<unsigned char>(*a) - static_cast<unsigned char>(*b) : 0;
}

char* strchr(const char* s, int c) {
    for (;; s++) {
        if (*s == static_cast<char>(c)) return const_cast<char*>(s);
        if (!*s) return nullptr;
    }
}

char* strncpy(char* to, const char* from, size_t n) {
    size_t i = 0;
    for (; i < n && from[i]; i++)
        to[i] = from[i];
    for (; i < n; i++)
        to[i] = 0;
    return to;
}

} // extern "C"
