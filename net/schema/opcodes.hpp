// Every opcode of the cluster, in one table. Explicit, never reused. 0x01xx..0x03xx carry protobuf
// (net/schema/control.proto); the rest carry the fixed-layout structs of the named header.
#pragma once

#include "net/rpc/rpc.hpp"

namespace tessera::schema {

using rpc::Opcode;

// Any node to any node.
inline constexpr Opcode kEcho{0x0001};  // bytes back
inline constexpr Opcode kStats{0x0002}; // -> StatsReply text, "name value" lines: net/cluster/stats

// Component or client -> manager, manager -> component: control.proto.
inline constexpr Opcode kJoin{0x0100};
inline constexpr Opcode kHeartbeat{0x0101};
inline constexpr Opcode kDirectory{0x0102};
inline constexpr Opcode kLeave{0x0103};
inline constexpr Opcode kFence{0x0104};
inline constexpr Opcode kMountVnode{
    0x0105}; // gpm -> pComponent: this vNode may run here; its mount, homes, limits
inline constexpr Opcode kUnmountVnode{0x0106};
inline constexpr Opcode kSetOption{0x0107}; // tess set p1 excache=16M -> component
inline constexpr Opcode kShutdown{0x0108};  // flush everything and power off
inline constexpr Opcode kVnodeCreate{0x0110};
inline constexpr Opcode kVnodeList{0x0111};
inline constexpr Opcode kVnodeRemove{0x0112};
inline constexpr Opcode kPlaceProgram{0x0113}; // client -> gpm: which pComponent runs this
inline constexpr Opcode kStatus{0x0114};       // client -> any manager
inline constexpr Opcode kGrantMemory{0x0200};  // mComponent / gpm -> gmm
inline constexpr Opcode kMountStorage{0x0300}; // gpm -> gsm; gsm -> sComponent creates the root

// Client -> pComponent: net/schema/process.hpp.
inline constexpr Opcode kSpawn{0x1000};
inline constexpr Opcode kConsolePoll{0x1001};
inline constexpr Opcode kConsoleInput{0x1002};
inline constexpr Opcode kConsoleResize{0x1003};
inline constexpr Opcode kSignal{0x1004};
inline constexpr Opcode kProcessList{0x1005};

// pComponent -> mComponent, and back: net/schema/page.hpp.
inline constexpr Opcode kPageFirst{0x2000}; // 0x2000..0x20ff are named in page.hpp

// pComponent -> sComponent (names, attributes), pComponent -> home mComponent (data),
// mComponent -> sComponent (data, write-out): net/schema/file.hpp.
inline constexpr Opcode kFileFirst{0x3000}; // 0x3000..0x30ff are named in file.hpp

} // namespace tessera::schema
