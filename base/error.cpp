#include "base/error.hpp"

namespace tessera {

std::string_view describe(Error e) {
    switch (e) {
        case Error::InvalidArgument:
            return "invalid argument";
        case Error::NotFound:
            return "not found";
        case Error::Exists:
            return "already exists";
        case Error::NoMemory:
            return "out of memory";
        case Error::NoSpace:
            return "no space left";
        case Error::NotPermitted:
            return "operation not permitted";
        case Error::AccessDenied:
            return "access denied";
        case Error::NotDirectory:
            return "not a directory";
        case Error::IsDirectory:
            return "is a directory";
        case Error::NotEmpty:
            return "directory not empty";
        case Error::TooManyLinks:
            return "too many links";
        case Error::NameTooLong:
            return "name too long";
        case Error::BadHandle:
            return "no such handle";
        case Error::BadAddress:
            return "bad address";
        case Error::Io:
            return "input/output error";
        case Error::Timeout:
            return "deadline passed";
        case Error::Interrupted:
            return "interrupted";
        case Error::Busy:
            return "busy";
        case Error::Full:
            return "queue full";
        case Error::Again:
            return "try again";
        case Error::Malformed:
            return "malformed";
        case Error::Unsupported:
            return "not supported";
        case Error::Stale:
            return "stale";
        case Error::OutcomeUnknown:
            return "outcome unknown";
        case Error::Disconnected:
            return "disconnected";
        case Error::Dead:
            return "peer declared dead";
        case Error::Lost:
            return "data lost";
        case Error::Corrupt:
            return "checksum mismatch";
        case Error::Unauthenticated:
            return "not authenticated";
        case Error::NotExecutable:
            return "not an executable";
        case Error::BrokenPipe:
            return "broken pipe";
        case Error::NoChild:
            return "no such child";
        case Error::NoProcess:
            return "no such process";
        case Error::CrossDevice:
            return "crosses file systems";
        case Error::TooBig:
            return "too big";
        case Error::ReadOnly:
            return "read-only";
        case Error::NotSeekable:
            return "not seekable";
        case Error::NotTty:
            return "not a terminal";
        case Error::NoDevice:
            return "no such device";
        case Error::Range:
            return "out of range";
        case Error::VersionMismatch:
            return "version mismatch";
        case Error::Cancelled:
            return "cancelled";
        case Error::Overflow:
            return "overflow";
        case Error::TooManyFiles:
            return "too many open files";
        case Error::NotSymlink:
            return "not a symbolic link";
        case Error::Deadlock:
            return "would deadlock";
        case Error::TextBusy:
            return "text file busy";
    }
    return "unknown error";
}

} // namespace tessera
