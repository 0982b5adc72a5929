// The storage monitor's service: turns requests (net/schema/file.hpp) into operations of the Store
// and their results into replies. Stateless between requests but for one hint: which objects a home
// mComponent holds (it may have newer sizes and times), rebuilt as homes hold again.
//
// Lives in the component's shard. A request is copied into an Operation, which owns it until the
// store has completed it; at most kMaxOperations are under way, more are answered Error::Full.
#pragma once

#include <cstdint>
#include <set>

#include "base/result.hpp"
#include "monitors/storage/core/store.hpp"
#include "monitors/storage/service/roots.hpp"
#include "net/rpc/rpc.hpp"

namespace tessera::smon {

class Service {
  public:
    static constexpr unsigned kMaxOperations = 128;

    // node and store outlive the service; handlers are registered at once.
    Service(rpc::Node& node, storage::Store& store);
    ~Service();
    Service(const Service&) = delete;
    Service& operator=(const Service&) = delete;

    Roots& roots() { return roots_; }
    unsigned under_way() const { return under_way_; }
    uint64_t requests() const { return requests_; }
    // A dead home has no newer data. (What it held in the store, the store's own fence lets go.)
    void fenced(storage::Holder holder);

  private:
    struct Operation;
    using Start = void (Service::*)(Operation&);

    void on(rpc::Opcode opcode, size_t head_size, Start start);
    void begin(const rpc::Identity& caller, Bytes request, rpc::Responder responder,
               size_t head_size, Start start);
    void finish(Operation& op, Bytes head, Bytes body = {});
    void fail(Operation& op, Error e);
    template <typename T, typename F>
    storage::Done<T> then(Operation& op, F on_success);
    storage::Done<storage::Attributes> reply_attributes(Operation& op);
    storage::Done<void> reply_nothing(Operation& op);

    void walk(Operation&);
    void attributes(Operation&);
    void change(Operation&);
    void create(Operation&);
    void symlink(Operation&);
    void read_link(Operation&);
    void link(Operation&);
    void unlink(Operation&);
    void rename(Operation&);
    void read_directory(Operation&);
    void hold(Operation&);
    void release(Operation&);
    void file_system_use(Operation&);
    void sync_all(Operation&);
    void read(Operation&);
    void write(Operation&);
    void set_home_attributes(Operation&);
    void sync(Operation&);
    void create_root(Operation&);
    void remove_root(Operation&);
    void fence(Operation&);
    void reserve(Operation&);

    bool home_active(storage::ObjectRef object) const;

    rpc::Node& node_;
    storage::Store& store_;
    Roots roots_;
    unsigned under_way_ = 0;
    uint64_t requests_ = 0;
    // Objects of which a home has newer data. Bounded by what homes cache dirty.
    std::set<std::pair<FileId, storage::Holder>> homes_;
};

} // namespace tessera::smon
