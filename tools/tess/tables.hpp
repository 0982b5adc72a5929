// What tess prints about a cluster, as text: tables for people, JSON for programs. Pure.
#pragma once

#include <string>
#include <vector>

#include "net/schema/control.pb.h"
#include "net/schema/process.hpp"

namespace tessera::tess {

struct ProcessRow {
    std::string component;
    schema::ProcessEntry entry;
};

std::string status_table(const control::StatusReply& status);
std::string status_json(const control::StatusReply& status);
std::string vnode_table(const control::StatusReply& status);
std::string process_table(const control::StatusReply& status, const std::vector<ProcessRow>& rows);
// Rates are over `seconds` between the two; an empty `before` gives totals only.
std::string top_table(const control::StatusReply& before, const control::StatusReply& now,
                      double seconds);

// Four lines for somebody who has just arrived: where one is, who does what, what to try. The last
// two say how tess is called here: its name, and " --dir FOLDER" where that is needed.
std::string greeting_text(const control::StatusReply& status, const std::string& vnode,
                          const std::string& computes, const std::string& tess_command,
                          const std::string& options);

// Columns padded to their widest cell; the first row is the heading.
std::string table_text(const std::vector<std::vector<std::string>>& rows);
std::string json_text(std::string_view s); // quoted and escaped

} // namespace tessera::tess
