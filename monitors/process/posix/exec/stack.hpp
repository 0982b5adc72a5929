// The stack a new program finds: argc, argv, envp, the auxiliary vector and their strings
// (psABI 3.4.1).
#pragma once

#include <array>
#include <string>
#include <vector>

#include "monitors/process/posix/address_space.hpp"

namespace tessera::posix {

inline constexpr uint64_t kAuxHeaders = 3, kAuxHeaderSize = 4, kAuxHeaderCount = 5,
                          kAuxPageSize = 6, kAuxBase = 7, kAuxFlags = 8, kAuxEntry = 9,
                          kAuxUid = 11, kAuxEuid = 12, kAuxGid = 13, kAuxEgid = 14,
                          kAuxPlatform = 15, kAuxHardware = 16, kAuxClockTick = 17, kAuxSecure = 23,
                          kAuxRandom = 25, kAuxHardware2 = 26, kAuxExecFn = 31;

struct StackImage {
    UserAddress top = 0; // page aligned, first address above
    const std::vector<std::string>* arguments = nullptr;
    const std::vector<std::string>* environment = nullptr;
    std::string program; // AT_EXECFN
    std::array<std::byte, 16> random = {};
    std::vector<std::pair<uint64_t, uint64_t>> auxiliary; // PLATFORM, RANDOM, EXECFN are added
};

// Writes it and returns the stack pointer (16-aligned, at argc). TooBig if it exceeds `most`.
Result<UserAddress> build_stack(AddressSpace& space, const StackImage& s, size_t most);

} // namespace tessera::posix
