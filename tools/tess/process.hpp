// Processes of a cluster: started in a session of their own, found again by pidfile, stopped.
//
// A pidfile holds the pid and its start time (field 22 of /proc/PID/stat), so that a pid reused by
// somebody else's program is never taken for ours. The child writes it before exec: a tess killed
// at any point leaves nothing that the next one does not find.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "tools/tess/paths.hpp"

namespace tessera::tess {

using Arguments = std::vector<std::string>;

// Starts it with stdin from /dev/null and stdout and stderr appended to its log.
Outcome<pid_t> start(const Paths& paths, const std::string& name, const Arguments& arguments);
// The pid, if that process of ours is alive.
std::optional<pid_t> running(const Paths& paths, const std::string& name);
// Names of all pidfiles.
std::vector<std::string> known(const Paths& paths);
// SIGTERM to all, SIGKILL to those alive after `grace`; removes their pidfiles. Returns how many
// lived.
unsigned stop(const Paths& paths, const std::vector<std::string>& names,
              std::chrono::milliseconds grace);
void send_signal(const Paths& paths, const std::string& name, int signal);

// Runs a program to its end and gives back its output (both streams, at most 64 KiB). A trouble
// when it cannot be started, fails, or takes longer than `limit`.
Outcome<std::string> run_and_wait(const Arguments& arguments, std::chrono::milliseconds limit);
// Full path of a program in PATH.
std::optional<std::string> find_program(const std::string& name);

// An exclusive lock on a file, held as long as the object lives.
class FileLock {
  public:
    // nullopt: somebody else holds it.
    static Outcome<std::optional<FileLock>> take(const std::string& path);
    FileLock(FileLock&& o) noexcept : fd_(o.fd_) { o.fd_ = -1; }
    FileLock& operator=(FileLock&&) = delete;
    ~FileLock();

  private:
    explicit FileLock(int fd) : fd_(fd) {}
    int fd_;
};

// The last lines of a text file, indented by two spaces; "" if there are none.
std::string last_lines(const std::string& path, unsigned count);

} // namespace tessera::tess
