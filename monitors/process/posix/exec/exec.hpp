// execve: a new image in a new address space, then the point of no return.
//
// Until the new space is complete nothing of the old program changes and every error comes back to
// it. Scripts (#!) up to four deep; PT_INTERP is loaded too, so that dynamic programs can start.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"

namespace tessera::posix {

class Task;

inline constexpr size_t kMostArgumentBytes = 2 << 20; // all of argv and envp: TooBig
inline constexpr size_t kMostArgument = 128 << 10;    // one string

// `t` is the calling task, or one that has not started (its process then gets its first memory).
// Errors: NotFound, AccessDenied, NotExecutable, TooBig, NoMemory, TooManyLinks, …
Result<void> execute(Task& t, const std::string& path, std::vector<std::string> arguments,
                     const std::vector<std::string>& environment);
// The same for a file that has been resolved (fexecve, execveat): `name` is what AT_EXECFN says.
struct Resolved;
Result<void> execute_file(Task& t, Resolved file, const std::string& name,
                          std::vector<std::string> arguments,
                          const std::vector<std::string>& environment);

// argv[0] of a program to start: as it is with a slash, else the first executable in PATH.
Result<std::string> search_program(Task& t, const std::string& name,
                                   const std::vector<std::string>& environment);

} // namespace tessera::posix
