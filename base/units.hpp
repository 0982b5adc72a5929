// Numbers with a meaning. A strong type per thing that must not be mixed up; conversion is
// explicit.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace tessera {

// An integer that only compares and converts explicitly. Tag makes the type; Rep is its width.
template <typename Tag, typename Rep>
struct Id {
    Rep value = 0;

    constexpr Id() = default;
    constexpr explicit Id(Rep v) : value(v) {}
    constexpr auto operator<=>(const Id&) const = default;
    constexpr explicit operator bool() const { return value != 0; }
    constexpr Id next() const { return Id(static_cast<Rep>(value + 1)); }
};

using NodeId = Id<struct NodeIdTag, uint32_t>;         // a component, manager or client; 0 = none
using VnodeId = Id<struct VnodeIdTag, uint32_t>;       // 0 = none
using Pid = Id<struct PidTag, uint32_t>;               // per vNode
using ObjectId = Id<struct ObjectIdTag, uint64_t>;     // a memory object, cluster-wide unique
using FileId = Id<struct FileIdTag, uint64_t>;         // a store object within its vNode's store
using Generation = Id<struct GenerationTag, uint32_t>; // of a FileId
using PageNo = Id<struct PageNoTag, uint64_t>;         // offset in an object / 4096

// The four numbers that only grow (protocols.md section 5).
using Incarnation = Id<struct IncarnationTag, uint64_t>;       // one boot of a component or manager
using OwnershipEpoch = Id<struct OwnershipEpochTag, uint32_t>; // per vRegion or mount
using CheckpointEpoch = Id<struct CheckpointEpochTag, uint32_t>; // per consistency group
using DirectoryVersion = Id<struct DirectoryVersionTag, uint64_t>;

// Nanoseconds of the environment's monotonic clock; signed so that differences are safe.
struct Nanos {
    int64_t value = 0;

    constexpr auto operator<=>(const Nanos&) const = default;
    constexpr Nanos operator+(Nanos o) const { return {value + o.value}; }
    constexpr Nanos operator-(Nanos o) const { return {value - o.value}; }
    constexpr Nanos operator*(int64_t k) const { return {value * k}; }
    constexpr Nanos operator/(int64_t k) const { return {value / k}; }
    constexpr Nanos& operator+=(Nanos o) {
        value += o.value;
        return *this;
    }
};
inline constexpr Nanos kNever{INT64_MAX};
constexpr Nanos microseconds(int64_t n) {
    return {n * 1000};
}
constexpr Nanos milliseconds(int64_t n) {
    return {n * 1000 * 1000};
}
constexpr Nanos seconds(int64_t n) {
    return {n * 1000 * 1000 * 1000};
}

inline constexpr size_t kPageSize = 4096;
inline constexpr size_t kPageShift = 12;

constexpr size_t kib(size_t n) {
    return n << 10;
}
constexpr size_t mib(size_t n) {
    return n << 20;
}
constexpr uint64_t align_down(uint64_t v, uint64_t a) {
    return v & ~(a - 1);
}
constexpr uint64_t align_up(uint64_t v, uint64_t a) {
    return (v + a - 1) & ~(a - 1);
}

} // namespace tessera

template <typename Tag, typename Rep>
struct std::hash<tessera::Id<Tag, Rep>> {
    size_t operator()(const tessera::Id<Tag, Rep>& id) const noexcept {
        // Seed-free and address-free, so that iteration order never depends on a run.
        uint64_t x = static_cast<uint64_t>(id.value) * 0x9e3779b97f4a7c15ull;
        return static_cast<size_t>(x ^ (x >> 32));
    }
};
