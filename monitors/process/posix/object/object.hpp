// Object: whatever a vNode consists of (processes, groups, sessions, descriptions, pipes,
// terminals).
//
// Each lives in its vNode's ObjectTable under an id that is never reused within the vNode, refers
// to others by id in its record, and can be saved and loaded (protocols.md section 8: checkpoints).
// Held by Ref; leaves the table in its destructor. The table's lock is rank ObjectTable and
// innermost.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/ref.hpp"
#include "base/result.hpp"
#include "kernel/sync/mutex.hpp"
#include "monitors/process/posix/object/archive.hpp"

namespace tessera::posix {

class Vnode;

enum class ObjectKind : uint8_t {
    Process = 1,
    Group = 2,
    Session = 3,
    DescriptorTable = 4,
    Pipe = 5,
    PipeEnd = 6,
    Terminal = 7,
    TerminalFile = 8,
    StoreFile = 9,
    Directory = 10,
    Device = 11,
    TextFile = 12,
    Stream = 13,
    StreamEnd = 14,
    Task = 15,
    PathFile = 16,
    Event = 17,
};

// Kinds whose class is a Description (file/description.hpp).
constexpr bool is_description(ObjectKind kind) {
    switch (kind) {
        case ObjectKind::PipeEnd:
        case ObjectKind::TerminalFile:
        case ObjectKind::StoreFile:
        case ObjectKind::Directory:
        case ObjectKind::Device:
        case ObjectKind::TextFile:
        case ObjectKind::StreamEnd:
        case ObjectKind::PathFile:
            return true;
        default:
            return false;
    }
}

class Object : public RefCounted {
  public:
    Object(Vnode& vnode, ObjectKind kind);
    ~Object() override;

    Vnode& vnode() const { return vnode_; }
    ObjectKind kind() const { return kind_; }
    uint64_t id() const { return id_; }

    // Reads or writes every field that must survive. Called with the object at rest.
    virtual void record(Archive& a) = 0;

  private:
    friend class ObjectTable;
    Vnode& vnode_;
    ObjectKind kind_;
    uint64_t id_;
};

class ObjectTable {
  public:
    uint64_t add(Object& o);
    void remove(Object& o);
    // Loading: gives `o` the id it had. InvalidArgument if that is taken.
    Result<void> rename(Object& o, uint64_t id);
    // Loading: who has this id; null if nobody. The caller holds a reference to it already: objects
    // that are being loaded do not go away meanwhile.
    Object* find(uint64_t id);
    size_t count();
    size_t count(ObjectKind kind);

  private:
    kernel::Mutex mutex_{kernel::LockRank::ObjectTable};
    std::map<uint64_t, Object*> objects_; // ordered by id: iteration is deterministic
    uint64_t next_ = 1;
};

} // namespace tessera::posix
