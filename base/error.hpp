// The one list of reasons why something did not work.
//
// Kernel, monitors, managers and tools all speak this enum; it becomes an errno only at the
// system-call edge (monitors/process/syscall/errno.hpp) and a sentence only where a person reads
// it. Values travel in messages, so they are explicit and never reused.
#pragma once

#include <cstdint>
#include <string_view>

namespace tessera {

enum class Error : uint16_t {
    InvalidArgument = 1, // the request makes no sense as asked
    NotFound = 2,
    Exists = 3,
    NoMemory = 4,     // local memory or a fixed pool is exhausted
    NoSpace = 5,      // the device or the quota is full
    NotPermitted = 6, // rights are missing
    AccessDenied = 7, // file mode forbids it
    NotDirectory = 8,
    IsDirectory = 9,
    NotEmpty = 10,
    TooManyLinks = 11, // symlink loop, or link count limit
    NameTooLong = 12,
    BadHandle = 13, // no such descriptor, connection, object
    BadAddress = 14,
    Io = 15,      // a device said no
    Timeout = 16, // the deadline passed; nothing is known about the peer
    Interrupted = 17,
    Busy = 18,
    Full = 19,      // a bounded queue is full; try again later
    Again = 20,     // would block
    Malformed = 21, // bytes from outside that do not parse
    Unsupported = 22,
    Stale = 23,          // an older incarnation, epoch, generation or session
    OutcomeUnknown = 24, // the server restarted between request and reply; it may have happened
    Disconnected = 25,
    Dead = 26,    // the peer has been declared dead and is fenced
    Lost = 27,    // the only copy of the data is gone
    Corrupt = 28, // a checksum does not match
    Unauthenticated = 29,
    NotExecutable = 30,
    BrokenPipe = 31,
    NoChild = 32,
    NoProcess = 33,
    CrossDevice = 34,
    TooBig = 35,
    ReadOnly = 36,
    NotSeekable = 37,
    NotTty = 38,
    NoDevice = 39,
    Range = 40,
    VersionMismatch = 41,
    Cancelled = 42,
    Overflow = 43,
    TooManyFiles = 44,
    NotSymlink = 45,
    Deadlock = 46,
    TextBusy = 47,
};

// A short English phrase, for logs and messages ("not found"). Never empty.
std::string_view describe(Error e);

} // namespace tessera
