// Guardian: a small child that outlives this process if it is killed with SIGKILL, and then puts
// right what it left: the terminal's mode, and the program's console in the vNode, which hangs up
// at once instead of when the pComponent has missed us for long.
//
// It holds nothing of ours but one end of a pipe and the terminal: whoever reads our output sees
// its end when we go. In a session of its own, so that no key reaches it. Owned by run_program();
// the destructor (a normal end) lets it go without a word and waits for it.
#pragma once

#include <sys/types.h>
#include <termios.h>

#include <cstdint>

#include "tools/tess/config.hpp"
#include "tools/tess/paths.hpp"

namespace tessera::tess {

class Guardian {
  public:
    // Without one (out of processes) things work as well, but for the above.
    Guardian(const Paths& paths, const ClusterConfig& config);
    ~Guardian();
    Guardian(const Guardian&) = delete;

    void program_started(uint32_t ip, uint64_t console);
    void terminal_changed(const termios& before); // raw from now on; this is how it was
    void terminal_restored();

  private:
    struct Ward { // what there is to put right
        uint32_t ip = 0;
        uint64_t console = 0;
        bool raw = false;
        bool over = false; // we end by ourselves
        termios before{};
    };
    void tell();
    [[noreturn]] static void watch(int from, int terminal, const Paths& paths,
                                   const ClusterConfig& config);
    static void hang_up(const Ward& w, const Paths& paths, const ClusterConfig& config);

    Ward ward_;
    int pipe_ = -1;
    pid_t child_ = -1;
};

} // namespace tessera::tess
