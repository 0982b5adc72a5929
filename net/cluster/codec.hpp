// Control messages (net/schema/control.proto) as nanopb structs, to and from bytes and types.hpp.
#pragma once

#include <cstring>
#include <type_traits>

#include "base/result.hpp"
#include "net/cluster/types.hpp"
#include "net/schema/control.npb.h"

namespace tessera::cluster {

// Malformed: does not parse, or exceeds a bound of control.options.
Result<void> decode(Bytes in, const pb_msgdesc_t* fields, void* message);
// TooBig: `out` is too small.
Result<size_t> encode(const pb_msgdesc_t* fields, const void* message, MutableBytes out);

// decode<T>: T is the nanopb struct, zeroed first.
template <typename T>
Result<T> decode_as(Bytes in, const pb_msgdesc_t* fields) {
    T message{};
    TRY(decode(in, fields, &message));
    return message;
}

// The number in an enum field as it came. A peer's may be none of ours, and reading that as the
// enum is undefined: compare with this, or go through enum_from().
template <typename E>
uint32_t enum_number(const E& field) {
    static_assert(std::is_enum_v<E> && sizeof(E) == sizeof(uint32_t));
    uint32_t number;
    std::memcpy(&number, &field, sizeof number);
    return number;
}
// The same as one of ours; `otherwise` if it is above `last`.
template <typename T, typename E>
T enum_from(const E& field, E last, T otherwise) {
    uint32_t number = enum_number(field);
    return number <= static_cast<uint32_t>(last) ? static_cast<T>(number) : otherwise;
}

Component component_from(const tessera_control_Component& m);
Vnode vnode_from(const tessera_control_Vnode& m);
Resources resources_from(const tessera_control_Resources& m);
tessera_control_Vnode to_wire(const Vnode& v);
tessera_control_Resources to_wire(const Resources& r);

template <size_t N, size_t M>
void copy_name(char (&to)[N], const Name<M>& from) {
    size_t n = from.view().size() < N - 1 ? from.view().size() : N - 1;
    std::memcpy(to, from.c_str(), n);
    to[n] = 0;
}

} // namespace tessera::cluster
