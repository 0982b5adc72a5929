// StateDb: a manager's memory across restarts. Records (table, key) -> bytes in one SQLite file
// with a write-ahead log; a put has reached the disk's log when it returns. The only file that
// knows SQLite.
//
// Managers record intent before they act (protocols.md section 4). A deleted or damaged file is not
// fatal: open() sets a damaged one aside and starts empty, and inventories fill it again.
#pragma once

#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/ref.hpp"
#include "base/result.hpp"

struct sqlite3;

namespace tessera::net::host {

class StateDb {
  public:
    struct Record {
        uint64_t key;
        std::string value;
    };

    // ":memory:" for tests. Errors: AccessDenied, Io.
    static Result<Own<StateDb>> open(const std::string& path);
    ~StateDb();

    Result<void> put(std::string_view table, uint64_t key, std::string_view value);
    Result<void> erase(std::string_view table, uint64_t key);
    Result<std::vector<Record>> all(std::string_view table);
    bool fresh() const { return fresh_; } // there was nothing in it

  private:
    explicit StateDb(sqlite3* db) : db_(db) {}
    sqlite3* db_;
    bool fresh_ = false;
};

} // namespace tessera::net::host
