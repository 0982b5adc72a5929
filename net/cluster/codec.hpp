// Control messages (net/schema/control.proto) as nanopb structs, to and from bytes and types.hpp.
#pragma once

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
