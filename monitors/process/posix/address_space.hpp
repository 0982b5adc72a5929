// AddressSpace: a process's user memory, as POSIX objects and system calls see it.
//
// Implemented by monitors/process/memory (VMAs, ExCache, remote objects) and by a plain fake for
// hosted tests of posix. Thread context; calls may block on remote memory (bounded: protocols.md
// 5). No lock of the caller above LockRank::AddressSpace may be held across read/write/fault.
//
// Addresses are user virtual addresses; lengths are bytes and rounded to pages inside where Linux
// does.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.hpp"
#include "base/function.hpp"
#include "base/ref.hpp"
#include "base/result.hpp"
#include "base/units.hpp"
#include "monitors/process/posix/files.hpp"

namespace tessera::posix {

using UserAddress = uint64_t;

inline constexpr UserAddress kUserEnd = 0x0000'7fff'ffff'f000; // first address not usable

enum class Protection : uint8_t { None = 0, Read = 1, Write = 2, Execute = 4 };
constexpr Protection operator|(Protection a, Protection b) {
    return static_cast<Protection>(static_cast<uint8_t>(a) | static_cast<uint8_t>(b));
}
constexpr bool allows(Protection p, Protection what) {
    return (static_cast<uint8_t>(p) & static_cast<uint8_t>(what)) == static_cast<uint8_t>(what);
}

enum class Sharing : uint8_t { Private, Shared };
enum class MapPlace : uint8_t { Anywhere, Fixed, FixedNoReplace }; // Anywhere: `address` is a hint

struct MapRequest {
    UserAddress address = 0;
    uint64_t length = 0;
    Protection protection = Protection::None;
    Sharing sharing = Sharing::Private;
    MapPlace place = MapPlace::Anywhere;
    bool grows_down = false; // a stack
    bool populate = false;
    FileRef file = {};   // none: anonymous
    uint64_t offset = 0; // in the file, page aligned
    uint64_t file_bytes =
        UINT64_MAX;        // ELF: bytes of the segment that come from the file; the rest is zero
    const char* name = ""; // for /proc/self/maps: path, [heap], [stack]; copied
};

struct Mapping {
    UserAddress start = 0;
    UserAddress end = 0;
    Protection protection = Protection::None;
    Sharing sharing = Sharing::Private;
    FileRef file = {};
    uint64_t offset = 0;
    std::string name;
};

struct MemoryUse {
    uint64_t virtual_pages = 0;
    uint64_t resident_lines = 0;
    uint64_t faults = 0;        // all page faults taken
    uint64_t remote_faults = 0; // of those, served from another component
};

enum class Advice : uint8_t { Normal, DontNeed, Free, WillNeed };

class AddressSpace : public RefCounted {
  public:
    // mmap. Errors: InvalidArgument, NoMemory (address space, quota), Exists (FixedNoReplace).
    virtual Result<UserAddress> map(const MapRequest& request) = 0;
    virtual Result<void> unmap(UserAddress address, uint64_t length) = 0;
    // Errors: NoMemory if part of the range is unmapped (Linux: ENOMEM), InvalidArgument.
    virtual Result<void> protect(UserAddress address, uint64_t length, Protection p) = 0;
    // mremap; `to` is used if fixed. Errors as Linux.
    virtual Result<UserAddress> remap(UserAddress address, uint64_t old_length, uint64_t new_length,
                                      bool may_move, bool fixed, UserAddress to) = 0;
    virtual Result<void> advise(UserAddress address, uint64_t length, Advice a) = 0;
    virtual Result<void> sync(UserAddress address, uint64_t length) = 0; // msync(MS_SYNC)

    virtual void set_brk_start(UserAddress start) = 0; // by exec: end of the last segment
    virtual UserAddress brk(UserAddress wanted) = 0;   // the new break, or the old one if refused

    // A copy-on-write copy, for fork. Errors: NoMemory, Again.
    virtual Result<Ref<AddressSpace>> fork() = 0;

    // A user access faulted here. Ok: retry the instruction. BadAddress: no mapping (SIGSEGV
    // SEGV_MAPERR); AccessDenied: protection (SEGV_ACCERR); Lost, Io, Dead, Range: SIGBUS;
    // NoMemory: out of credits, OOM kill; Interrupted: killed while waiting.
    virtual Result<void> fault(UserAddress address, Protection access) = 0;

    // Copies between user memory and kernel memory. BadAddress (also protection), Lost/Io/Dead:
    // SIGBUS. Returns after the whole copy; on error how much was copied is unspecified.
    virtual Result<void> read(UserAddress from, MutableBytes to) = 0;
    virtual Result<void> write(UserAddress to, Bytes from) = 0;
    // A NUL-terminated string; TooBig if longer than `most` (terminator not counted).
    virtual Result<std::string> read_string(UserAddress from, size_t most) = 0;

    // A UserPin on an aligned 32-bit word: compares and updates without faulting, for futexes.
    virtual Result<uint32_t> load_word(UserAddress a) = 0;
    virtual Result<bool> compare_exchange_word(UserAddress a, uint32_t& expected,
                                               uint32_t desired) = 0;
    // Names the word across processes that share it: (object, offset).
    struct WordKey {
        uint64_t object;
        uint64_t offset;
        bool operator==(const WordKey&) const = default;
    };
    virtual Result<WordKey> word_key(UserAddress a, bool process_private) = 0;

    virtual void for_each_mapping(Function<void(const Mapping&)> visit) = 0; // ascending
    virtual MemoryUse use() const = 0;

    // The address space is current on this CPU from now on (kernel) / does nothing (fake).
    virtual void activate() = 0;
    // The calling thread is done with user memory: at the end of every task, before its reference
    // goes.
    virtual void leave() = 0;
    // exit or exec: everything is unmapped and given back on every component. Called once, last.
    virtual void destroy() = 0;
};

// Makes empty address spaces for one vNode's processes on this pComponent.
class AddressSpaceFactory {
  public:
    virtual Result<Ref<AddressSpace>> create(
        VnodeId vnode) = 0; // NoMemory, NoDevice (no mComponent)

  protected:
    ~AddressSpaceFactory() = default;
};

} // namespace tessera::posix
