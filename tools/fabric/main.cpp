// fabric: the emulated Ethernet between QEMU guests and host services. tess starts it; by hand:
//
//   fabric --dir /tmp/f --config ports.txt      lines of tools/fabric/control.hpp
//   echo 'set p1 loss=5%' | nc -U /tmp/f/control
//
// SIGTERM or SIGINT ends it and removes its sockets.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "tools/fabric/sockets.hpp"

namespace {

volatile std::sig_atomic_t stop_requested = 0;

int usage(const char* problem) {
    std::fprintf(stderr,
                 "fabric: %s\nusage: fabric --dir FOLDER [--config FILE] [--seed N] "
                 "[--halt-poll auto|on|off]\n",
                 problem);
    return 2;
}

} // namespace

using tessera::fabric::HaltPoll;

int main(int argc, char** argv) {
    std::string directory, config;
    uint64_t seed = 1;
    unsigned halt_poll = HaltPoll::threads_for_this_host();
    for (int i = 1; i < argc; i += 2) {
        std::string option = argv[i];
        if (i + 1 == argc) return usage((option + " needs a value").c_str());
        if (option == "--dir")
            directory = argv[i + 1];
        else if (option == "--config")
            config = argv[i + 1];
        else if (option == "--seed")
            seed = std::strtoull(argv[i + 1], nullptr, 0);
        else if (option == "--halt-poll") {
            std::string word = argv[i + 1];
            if (word == "on")
                halt_poll = HaltPoll::most_threads();
            else if (word == "off")
                halt_poll = 0;
            else if (word != "auto")
                return usage("--halt-poll is auto, on or off");
        } else
            return usage(("unknown option " + option).c_str());
    }
    if (directory.empty()) return usage("--dir is missing");

    std::signal(SIGPIPE, SIG_IGN);
    struct sigaction stop{};
    stop.sa_handler = [](int) { stop_requested = 1; };
    sigaction(SIGTERM, &stop, nullptr);
    sigaction(SIGINT, &stop, nullptr);

    tessera::fabric::Fabric fabric(directory, seed, halt_poll);
    if (auto r = fabric.open(); !r) {
        std::fprintf(stderr, "fabric: %s/control: %s\n", directory.c_str(),
                     std::string(tessera::describe(r.error())).c_str());
        return 1;
    }
    if (!config.empty()) {
        std::ifstream file(config);
        if (!file) {
            std::fprintf(stderr, "fabric: cannot read %s\n", config.c_str());
            return 1;
        }
        std::string line;
        for (int number = 1; std::getline(file, line); number++) {
            auto answer = fabric.command(line);
            if (answer.ok) continue;
            std::fprintf(stderr, "fabric: %s:%d: %s\n", config.c_str(), number,
                         answer.text.c_str());
            return 1;
        }
    }
    while (!stop_requested)
        fabric.step(tessera::seconds(1));
    return 0;
}
