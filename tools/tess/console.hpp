// A program on a pComponent with this terminal (or these three streams) as its console.
//
// Output is fetched by long polls that name offsets, input is sent with its offset, so both survive
// a lost connection (net/schema/process.hpp). With a terminal the local one is raw, always
// restored, and its size follows; without one, stdin, stdout and stderr stay apart, and SIGINT,
// SIGTERM, SIGQUIT, SIGHUP are passed on. When the program stops (Ctrl-Z), tess stops too, and
// continues it when it is continued.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "tools/tess/client.hpp"

namespace tessera::tess {

struct RunOptions {
    std::string vnode = "main";
    bool terminal = false;
    bool no_input = false; // stdin is empty, and not touched
    bool greet = false;    // four lines about where one is, before the program starts
    std::vector<std::string> environment; // NAME=VALUE
    std::string directory = "/root";
    std::vector<std::string> arguments;                            // arguments[0] is the program
    std::chrono::milliseconds patience = std::chrono::seconds(30); // without any answer: give up
};

// Where a program runs.
struct Place {
    uint32_t vnode = 0;
    uint32_t ip = 0;
    std::string component;
};

Outcome<Place> place_program(Session& session, const std::string& vnode);

// Starts the program and stays with it to its end. Returns what a shell would: its exit status, 128
// + the signal that killed it, 127 not found, 126 not executable, 125 for troubles of ours (already
// printed).
int run_program(Session& session, const Paths& paths, const Place& place,
                const RunOptions& options);

} // namespace tessera::tess
