// Between the store's words and the wire's (net/schema/file.hpp).
#pragma once

#include "monitors/storage/core/types.hpp"
#include "net/schema/file.hpp"

namespace tessera::smon {

inline storage::ObjectRef from_wire(const schema::WireFile& w) {
    return {FileId(w.id), Generation(w.generation)};
}

inline schema::WireFile to_wire(storage::ObjectRef o) {
    schema::WireFile w;
    w.id = o.id.value;
    w.generation = o.generation.value;
    return w;
}

inline schema::WireAttributes to_wire(const storage::Attributes& a, bool home_active) {
    schema::WireAttributes w;
    w.file = to_wire(a.object);
    w.parent = to_wire(a.parent);
    w.type = static_cast<unsigned char>(a.type);
    w.flags = home_active ? schema::kAttributeHomeActive : 0;
    w.mode = static_cast<uint16_t>(a.mode);
    w.uid = a.uid;
    w.gid = a.gid;
    w.links = a.nlink;
    w.device = static_cast<uint32_t>(a.device);
    w.size = a.size;
    w.blocks = a.blocks * 8;
    w.accessed_ns = static_cast<uint64_t>(a.atime);
    w.modified_ns = static_cast<uint64_t>(a.mtime);
    w.changed_ns = static_cast<uint64_t>(a.ctime);
    return w;
}

} // namespace tessera::smon
