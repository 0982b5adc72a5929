// Error -> Linux errno. The only place where they meet.
#pragma once

#include "base/error.hpp"

namespace tessera::syscalls {

inline constexpr int kEnosys = 38;

constexpr int errno_of(Error e) {
    switch (e) {
        case Error::NotPermitted:
        case Error::Unauthenticated:
            return 1;
        case Error::NotFound:
            return 2;
        case Error::NoProcess:
            return 3;
        case Error::Interrupted:
        case Error::Cancelled:
            return 4;
        case Error::Io:
        case Error::OutcomeUnknown:
        case Error::Disconnected:
        case Error::Dead:
        case Error::Lost:
        case Error::Corrupt:
        case Error::Malformed:
        case Error::VersionMismatch:
            return 5;
        case Error::NoDevice:
            return 6;
        case Error::TooBig:
            return 7;
        case Error::NotExecutable:
            return 8;
        case Error::BadHandle:
            return 9;
        case Error::NoChild:
            return 10;
        case Error::Again:
        case Error::Full:
            return 11;
        case Error::NoMemory:
            return 12;
        case Error::AccessDenied:
            return 13;
        case Error::BadAddress:
            return 14;
        case Error::Busy:
            return 16;
        case Error::Exists:
            return 17;
        case Error::CrossDevice:
            return 18;
        case Error::NotDirectory:
            return 20;
        case Error::IsDirectory:
            return 21;
        case Error::InvalidArgument:
        case Error::NotSymlink:
            return 22;
        case Error::TooManyFiles:
            return 24;
        case Error::NotTty:
            return 25;
        case Error::TextBusy:
            return 26;
        case Error::NoSpace:
            return 28;
        case Error::NotSeekable:
            return 29;
        case Error::ReadOnly:
            return 30;
        case Error::BrokenPipe:
            return 32;
        case Error::Range:
            return 34;
        case Error::Deadlock:
            return 35;
        case Error::NameTooLong:
            return 36;
        case Error::NotEmpty:
            return 39;
        case Error::TooManyLinks:
            return 40;
        case Error::Overflow:
            return 75;
        case Error::Unsupported:
            return 95;
        case Error::Timeout:
            return 110;
        case Error::Stale:
            return 116;
    }
    return 5;
}

} // namespace tessera::syscalls
