// What each `tess VERB` does, after its command line has been understood. Each returns the exit
// status; main.cpp owns the option parser (CLI11 is slow to compile, so it is included there only).
#pragma once

#include <string>
#include <vector>

#include "tools/tess/console.hpp"

namespace tessera::tess {

int verb_up(const std::string& dir, const std::string& config_file, const std::string& accelerator,
            bool restart);
int verb_down(const std::string& dir);
int verb_status(const std::string& dir, bool json);
int verb_run(const std::string& dir, const RunOptions& options);
int verb_ps(const std::string& dir, const std::string& vnode);
int verb_vnode_create(const std::string& dir, const std::string& name, const std::string& memory);
int verb_vnode_list(const std::string& dir);
int verb_vnode_remove(const std::string& dir, const std::string& name);
// One of the two is VNODE:PATH. Folders go as tar archives, made and unpacked by tar at both ends.
int verb_copy(const std::string& dir, const std::string& from, const std::string& to);
int verb_logs(const std::string& dir, const std::string& component, bool follow);
int verb_top(const std::string& dir, double seconds, unsigned rounds);
int verb_set(const std::string& dir, const std::string& component, const std::string& assignment);
int verb_stats(const std::string& dir, const std::string& component);
int verb_fabric(const std::string& dir, const std::vector<std::string>& words);
// kill, pause, resume, start: of a component, manager or the fabric.
int verb_fault(const std::string& dir, const std::string& what, const std::string& name);

int verb_tour(const std::string& dir, bool no_pause);

} // namespace tessera::tess
