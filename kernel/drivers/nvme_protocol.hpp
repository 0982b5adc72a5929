// NVMe on the wire: registers, commands, completions, and the list of pages of a transfer.
// NVM Express Base Specification 1.4; sections are named at each item.
#pragma once

#include <span>

#include "base/result.hpp"
#include "kernel/drivers/platform.hpp"

namespace tessera::kernel::nvme {

// Controller registers (section 3.1).
inline constexpr uint64_t kCap = 0x00, kVersion = 0x08, kConfig = 0x14, kStatus = 0x1c,
                          kAdminAttributes = 0x24, kAdminSubmission = 0x28, kAdminCompletion = 0x30,
                          kDoorbells = 0x1000;
inline constexpr uint32_t kConfigEnable = 1;
// Entry sizes 64 and 16 bytes (IOCQES 4, IOSQES 6), 4 KiB pages, NVM command set, round robin.
inline constexpr uint32_t kConfigValue = 4u << 20 | 6u << 16;
inline constexpr uint32_t kStatusReady = 1, kStatusFatal = 2;

// Commands (figures 104, 139, 346).
enum class AdminOpcode : uint8_t {
    DeleteSubmission = 0x00,
    CreateSubmission = 0x01,
    DeleteCompletion = 0x04,
    CreateCompletion = 0x05,
    Identify = 0x06,
    Abort = 0x08,
    SetFeatures = 0x09,
};
enum class IoOpcode : uint8_t { Flush = 0x00, Write = 0x01, Read = 0x02 };

struct Command {
    uint32_t dword0 = 0; // opcode, and the command id in the upper half
    uint32_t namespace_id = 0;
    uint64_t reserved = 0;
    uint64_t metadata = 0;
    uint64_t prp1 = 0;
    uint64_t prp2 = 0;
    uint32_t dword10 = 0;
    uint32_t dword11 = 0;
    uint32_t dword12 = 0;
    uint32_t dword13 = 0;
    uint32_t dword14 = 0;
    uint32_t dword15 = 0;
};
static_assert(sizeof(Command) == 64 && offsetof(Command, prp1) == 24 &&
              offsetof(Command, dword10) == 40);

struct Completion { // figure 121
    uint32_t dword0;
    uint32_t reserved;
    uint16_t submission_head;
    uint16_t submission_queue;
    uint16_t command_id;
    uint16_t status; // bit 0 is the phase
};
static_assert(sizeof(Completion) == 16 && offsetof(Completion, status) == 14);

inline constexpr uint32_t kForceUnitAccess = 1u << 30; // dword 12 of Write

// The Error for a completion's status field (with its phase bit); nothing when it succeeded.
Result<void> status_result(uint16_t status);

inline constexpr size_t kListEntries = kPageSize / sizeof(uint64_t); // of one PRP list page

// Fills PRP1, PRP2 and, beyond two pages, `list` (at `list_at`), section 4.3. Error:
// InvalidArgument (empty, or not 4-byte aligned), TooBig (more pages than the one list holds),
// BadAddress.
Result<void> build_prp(Platform& platform, MutableBytes buffer, Command& command,
                       std::span<uint64_t> list, BusAddr list_at);

} // namespace tessera::kernel::nvme
