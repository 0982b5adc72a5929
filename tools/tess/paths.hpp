// Where a cluster keeps its things: one state folder, and a short folder of its own for sockets.
#pragma once

#include <string>

#include "tools/tess/config.hpp"

namespace tessera::tess {

struct Paths {
    std::string state;   // absolute
    std::string sockets; // absolute, short
    std::string key() const { return state + "/key"; }
    std::string config() const { return state + "/cluster.toml"; }
    std::string ports() const { return state + "/ports.conf"; }
    std::string log(const std::string& name) const { return state + "/log/" + name + ".log"; }
    std::string pid(const std::string& name) const { return state + "/run/" + name + ".pid"; }
    std::string settings(const std::string& name) const { return state + "/" + name + ".config"; }
    std::string disk(const std::string& name) const { return state + "/" + name + ".disk"; }
    std::string qmp(const std::string& name) const { return sockets + "/" + name + ".qmp"; }
    std::string control() const { return sockets + "/control"; }
};

// `dir` empty: the default, ~/.local/state/tess/default. Creates nothing.
Outcome<Paths> paths_for(const std::string& dir);
// Makes the folders, the socket folder readable by nobody else.
Outcome<void> make_folders(const Paths& paths);

// Where programs and images lie, relative to this program: bin/ and share/tessera/ side by side.
struct Installation {
    std::string bin;
    std::string share;
};
Outcome<Installation> installation();

Outcome<std::string> read_file(const std::string& path);
// Replaces the file at once (write beside, rename), with these permissions.
Outcome<void> write_file(const std::string& path, const std::string& text, unsigned mode);

} // namespace tessera::tess
