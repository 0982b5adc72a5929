// Result<T>: a value or an Error. TRY unwraps or returns early; ASSERT is for programmer error
// only.
//
//   Result<Frame> allocate();
//   Frame f = TRY(allocate());   // returns the Error to our own caller if there is one
//
// Kernel and hosted code share this; libstdc++ 12 has no monadic operations, so none are used.
#pragma once

#include <expected>
#include <utility>

#include "base/error.hpp"

namespace tessera {

template <typename T>
using Result = std::expected<T, Error>;

using Fail = std::unexpected<Error>;

} // namespace tessera

// Statement expression: usable as `auto x = TRY(f());` and as `TRY(g());`.
#define TRY(expression)                                      \
    ({                                                       \
        auto&& try_result_ = (expression);                   \
        if (!try_result_.has_value()) [[unlikely]]           \
            return ::std::unexpected(try_result_.error());   \
        ::tessera::detail::unwrap(::std::move(try_result_)); \
    })

namespace tessera::detail {
template <typename T>
T unwrap(std::expected<T, Error>&& r) {
    if constexpr (!std::is_void_v<T>) return std::move(*r);
}
template <typename T>
T unwrap(std::expected<T, Error>& r) {
    if constexpr (!std::is_void_v<T>) return std::move(*r);
}
} // namespace tessera::detail
