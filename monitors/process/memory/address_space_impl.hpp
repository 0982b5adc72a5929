// RemoteAddressSpace: posix::AddressSpace over VMAs, the ExCache and remote objects. Blocking glue
// in thread context; all page state is in the shard (monitors/process/core).
//
// Two locks: change_ (rank AddressSpace) orders map, unmap, protect, move, fork, brk and is held
// while the shard applies them, never across a page fetch; the VMA tree has a leaf lock of its own,
// so that a fault never waits for a change. A change raises Space::generation, and the shard
// refuses a fault that was looked up before it.
//
// Waits: page waits end by completion, SIGKILL (Interrupted) or after 30 s (Timeout -> SIGBUS).
#pragma once

#include "base/ref.hpp"
#include "kernel/sync/event.hpp"
#include "kernel/sync/mutex.hpp"
#include "monitors/env/page_mapper.hpp"
#include "monitors/env/shard.hpp"
#include "monitors/process/core/excache.hpp"
#include "monitors/process/memory/vma_tree.hpp"
#include "monitors/process/posix/address_space.hpp"

namespace tessera::pmon {

// What address spaces of one component share. All outlive them.
struct MemoryContext {
    env::Shard& shard;
    ExCache& cache;
    env::FramePool& frames; // bytes() of a pinned line's frame, from thread context
    env::PageMapperFactory& mappers;
};

class RemoteAddressSpace final : public posix::AddressSpace {
  public:
    using Protection = posix::Protection;
    using UserAddress = posix::UserAddress;

    static Result<Ref<AddressSpace>> create(MemoryContext& context, VnodeId vnode);
    ~RemoteAddressSpace() override;

    Result<UserAddress> map(const posix::MapRequest& request) override;
    Result<void> unmap(UserAddress address, uint64_t length) override;
    Result<void> protect(UserAddress address, uint64_t length, Protection p) override;
    Result<UserAddress> remap(UserAddress address, uint64_t old_length, uint64_t new_length,
                              bool may_move, bool fixed, UserAddress to) override;
    Result<void> advise(UserAddress address, uint64_t length, posix::Advice a) override;
    Result<void> sync(UserAddress address, uint64_t length) override;
    void set_brk_start(UserAddress start) override;
    UserAddress brk(UserAddress wanted) override;
    Result<Ref<AddressSpace>> fork() override;
    Result<void> fault(UserAddress address, Protection access) override;
    Result<void> read(UserAddress from, MutableBytes to) override;
    Result<void> write(UserAddress to, Bytes from) override;
    Result<std::string> read_string(UserAddress from, size_t most) override;
    Result<uint32_t> load_word(UserAddress a) override;
    Result<bool> compare_exchange_word(UserAddress a, uint32_t& expected,
                                       uint32_t desired) override;
    Result<WordKey> word_key(UserAddress a, bool process_private) override;
    void for_each_mapping(Function<void(const posix::Mapping&)> visit) override;
    posix::MemoryUse use() const override;
    void activate() override;
    void leave() override;
    void destroy() override;

    env::PageMapper& mapper() { return *space_->mapper; } // for the scheduler

  private:
    RemoteAddressSpace(MemoryContext& context, VnodeId vnode, Space* space);

    // access.cpp
    Result<void> ask(PageRequest& request);
    Result<void> page(UserAddress address, Protection access, PageRequest& request);
    template <typename F>
    Result<void> with_pinned(UserAddress address, bool write, F&& f);
    Vma* grow_stack(uint64_t address);

    void unmap_locked(uint64_t start, uint64_t end);
    Result<uint64_t> insert_locked(Vma& vma, uint64_t wanted, uint64_t length,
                                   posix::MapPlace place);
    void release(CacheObject* source);
    void changed();

    MemoryContext& context_;
    VnodeId vnode_;
    Space* space_;
    kernel::Mutex change_{kernel::LockRank::AddressSpace};
    mutable kernel::Mutex tree_lock_{kernel::LockRank::Leaf};
    VmaTree tree_;
    UserAddress brk_start_ = 0;
    UserAddress brk_ = 0;
    bool destroyed_ = false;
};

class RemoteAddressSpaceFactory final : public posix::AddressSpaceFactory {
  public:
    explicit RemoteAddressSpaceFactory(MemoryContext& context) : context_(context) {}
    Result<Ref<posix::AddressSpace>> create(VnodeId vnode) override;

  private:
    MemoryContext& context_;
};

} // namespace tessera::pmon
