// Views of raw bytes and the few things done with them everywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

namespace tessera {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

template <typename T>
    requires(std::is_trivially_copyable_v<T> && !std::is_array_v<T>)
Bytes bytes_of(const T& v) {
    return std::as_bytes(std::span<const T, 1>(&v, 1));
}

template <typename T>
    requires std::is_trivially_copyable_v<T>
MutableBytes mutable_bytes_of(T& v) {
    return std::as_writable_bytes(std::span<T, 1>(&v, 1));
}

inline Bytes bytes_of(std::string_view s) {
    return std::as_bytes(std::span(s.data(), s.size()));
}

inline std::string_view text_of(Bytes b) {
    return {reinterpret_cast<const char*>(b.data()), b.size()};
}

// Copies a T out of possibly unaligned bytes. The caller has checked b.size() >= sizeof(T).
template <typename T>
    requires std::is_trivially_copyable_v<T>
T load(Bytes b) {
    T v;
    std::memcpy(&v, b.data(), sizeof(T));
    return v;
}

template <typename T>
    requires std::is_trivially_copyable_v<T>
void store(MutableBytes b, const T& v) {
    std::memcpy(b.data(), &v, sizeof(T));
}

} // namespace tessera
