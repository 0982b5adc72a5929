// Roots: makes the root of a vNode, as a copy of the template root if the store has one.
//
// `tessera-store build --template` puts what every vNode starts with under kTemplateRoot. A root
// has mode 0 from its creation until its copy is complete and synced, so that a copy cut short by
// a crash is taken up again by whoever asks next; what is there already is kept or filled again.
//
// Lives in the component's shard, passive: one operation of the store under way per copy. Names,
// data, modes, owners, times, symlinks, hard links and device nodes are copied.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "monitors/storage/core/store.hpp"

namespace tessera::smon {

class Roots {
  public:
    explicit Roots(storage::Store& store); // outlives this
    ~Roots();
    Roots(const Roots&) = delete;
    Roots& operator=(const Roots&) = delete;

    // The complete root of the vNode, made if necessary. Errors are the store's; asking again goes
    // on where it ended.
    void ensure(VnodeId vnode, uint64_t quota_bytes, storage::Done<storage::Attributes> done);

  private:
    class Copy;
    void begin(VnodeId vnode, const storage::Attributes& root);
    void finished(VnodeId vnode, Result<storage::Attributes> outcome);

    struct Job {
        std::vector<storage::Done<storage::Attributes>> waiting;
        std::unique_ptr<Copy> copy;
    };
    storage::Store& store_;
    std::map<VnodeId, Job> jobs_;
};

} // namespace tessera::smon
