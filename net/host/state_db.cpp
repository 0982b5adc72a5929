#include "net/host/state_db.hpp"

#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/log.hpp"

namespace tessera::net::host {

namespace {

constexpr const char* kSchema =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=2000;"
    "CREATE TABLE IF NOT EXISTS record(kind TEXT NOT NULL, key INTEGER NOT NULL, value BLOB NOT "
    "NULL,"
    " PRIMARY KEY(kind, key)) WITHOUT ROWID;";

class Statement {
  public:
    Statement(sqlite3* db, const char* sql) {
        if (sqlite3_prepare_v2(db, sql, -1, &s_, nullptr) != SQLITE_OK) s_ = nullptr;
    }
    ~Statement() { sqlite3_finalize(s_); }
    sqlite3_stmt* get() { return s_; }
    void text(int i, std::string_view v) {
        sqlite3_bind_text(s_, i, v.data(), static_cast<int>(v.size()), SQLITE_TRANSIENT);
    }
    void number(int i, uint64_t v) { sqlite3_bind_int64(s_, i, static_cast<sqlite3_int64>(v)); }
    void blob(int i, std::string_view v) {
        sqlite3_bind_blob(s_, i, v.data(), static_cast<int>(v.size()), SQLITE_TRANSIENT);
    }

  private:
    sqlite3_stmt* s_ = nullptr;
};

Result<sqlite3*> open_file(const std::string& path) {
    sqlite3* db = nullptr;
    int r = sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
    if (r == SQLITE_OK) r = sqlite3_exec(db, kSchema, nullptr, nullptr, nullptr);
    if (r == SQLITE_OK) return db;
    LOG(Warning, "state", "%s: %s", path.c_str(), sqlite3_errmsg(db));
    sqlite3_close(db);
    return Fail(r == SQLITE_NOTADB || r == SQLITE_CORRUPT      ? Error::Corrupt
                : r == SQLITE_CANTOPEN || r == SQLITE_READONLY ? Error::AccessDenied
                                                               : Error::Io);
}

} // namespace

Result<Own<StateDb>> StateDb::open(const std::string& path) {
    auto db = open_file(path);
    if (!db && db.error() == Error::Corrupt) {
        std::string aside = path + ".damaged";
        LOG(Warning, "state", "%s is damaged; kept as %s, starting empty", path.c_str(),
            aside.c_str());
        rename(path.c_str(), aside.c_str());
        remove((path + "-wal").c_str());
        remove((path + "-shm").c_str());
        db = open_file(path);
    }
    if (!db) return Fail(db.error());
    Own<StateDb> state(new StateDb(*db));
    Statement count(*db, "SELECT count(*) FROM record");
    if (!count.get() || sqlite3_step(count.get()) != SQLITE_ROW) return Fail(Error::Io);
    state->fresh_ = sqlite3_column_int64(count.get(), 0) == 0;
    return state;
}

StateDb::~StateDb() {
    sqlite3_close(db_);
}

Result<void> StateDb::put(std::string_view table, uint64_t key, std::string_view value) {
    Statement s(db_, "INSERT OR REPLACE INTO record(kind, key, value) VALUES(?, ?, ?)");
    if (!s.get()) return Fail(Error::Io);
    s.text(1, table);
    s.number(2, key);
    s.blob(3, value);
    if (sqlite3_step(s.get()) == SQLITE_DONE) return {};
    LOG(Failure, "state", "cannot record: %s", sqlite3_errmsg(db_));
    return Fail(sqlite3_errcode(db_) == SQLITE_FULL ? Error::NoSpace : Error::Io);
}

Result<void> StateDb::erase(std::string_view table, uint64_t key) {
    Statement s(db_, "DELETE FROM record WHERE kind = ? AND key = ?");
    if (!s.get()) return Fail(Error::Io);
    s.text(1, table);
    s.number(2, key);
    if (sqlite3_step(s.get()) != SQLITE_DONE) return Fail(Error::Io);
    return {};
}

Result<std::vector<StateDb::Record>> StateDb::all(std::string_view table) {
    Statement s(db_, "SELECT key, value FROM record WHERE kind = ? ORDER BY key");
    if (!s.get()) return Fail(Error::Io);
    s.text(1, table);
    std::vector<Record> out;
    int r;
    while ((r = sqlite3_step(s.get())) == SQLITE_ROW) {
        auto* bytes = static_cast<const char*>(sqlite3_column_blob(s.get(), 1));
        auto size = static_cast<size_t>(sqlite3_column_bytes(s.get(), 1));
        out.push_back({static_cast<uint64_t>(sqlite3_column_int64(s.get(), 0)),
                       bytes ? std::string(bytes, size) : std::string()});
    }
    if (r != SQLITE_DONE) return Fail(Error::Io);
    return out;
}

} // namespace tessera::net::host
