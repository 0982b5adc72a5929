// The out-of-line part of libc++ that portable code uses: there is no libc++ library in the kernel,
// only its headers. std::shared_ptr is left out on purpose: without threads configured its counts
// are not atomic (use Ref).

#include <algorithm>
#include <cstdint>
#include <string>

#include "base/format.hpp"

template class std::basic_string<char>;

namespace std {
inline namespace __1 {

namespace {
template <typename T>
string number(const char* format, T v) {
    char text[24];
    return string(text, tessera::format_text(text, sizeof text, format, v));
}
} // namespace

string to_string(int v) {
    return number("%d", v);
}
string to_string(unsigned v) {
    return number("%u", v);
}
string to_string(long v) {
    return number("%ld", v);
}
string to_string(unsigned long v) {
    return number("%lu", v);
}
string to_string(long long v) {
    return number("%lld", v);
}
string to_string(unsigned long long v) {
    return number("%llu", v);
}

// Declared by <algorithm> for the built-in types and std::less; the lambda leads to the inline
// code.
template <typename Compare, typename Iterator>
void __sort(Iterator first, Iterator last, Compare) {
    sort(first, last, [](auto a, auto b) { return a < b; });
}
template void __sort<__less<int>&, int*>(int*, int*, __less<int>&);
template void __sort<__less<unsigned>&, unsigned*>(unsigned*, unsigned*, __less<unsigned>&);
template void __sort<__less<long>&, long*>(long*, long*, __less<long>&);
template void __sort<__less<unsigned long>&, unsigned long*>(unsigned long*, unsigned long*,
                                                             __less<unsigned long>&);

} // namespace __1
} // namespace std
