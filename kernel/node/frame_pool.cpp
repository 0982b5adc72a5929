#include "kernel/node/frame_pool.hpp"

#include "base/assert.hpp"
#include "boot/boot_info.hpp"
#include "kernel/mm/frames.hpp"

namespace tessera::node {

KernelFramePool::KernelFramePool(uint64_t limit) : limit_(limit) {
    for (const boot::MemoryRange& r : boot::boot_info().memory_map())
        if (r.kind == boot::MemoryKind::Usable && (r.start + r.size) / kPageSize > highest_)
            highest_ = (r.start + r.size) / kPageSize;
    shares_ = std::make_unique<uint32_t[]>(highest_);
}

Result<env::FrameNo> KernelFramePool::allocate() {
    if (used_ >= limit_) return std::unexpected(Error::NoMemory);
    kernel::PhysAddr a = TRY(kernel::allocate_frame());
    env::FrameNo f(a.value / kPageSize);
    ASSERT(f.value < highest_);
    shares_[f.value] = 1;
    used_++;
    return f;
}

void KernelFramePool::share(env::FrameNo f) {
    ASSERT(shares_[f.value] > 0);
    shares_[f.value]++;
}

bool KernelFramePool::release(env::FrameNo f) {
    ASSERT(shares_[f.value] > 0);
    if (--shares_[f.value]) return false;
    used_--;
    kernel::free_frame(kernel::PhysAddr(f.value * kPageSize));
    return true;
}

uint32_t KernelFramePool::shares(env::FrameNo f) const {
    return shares_[f.value];
}

MutableBytes KernelFramePool::bytes(env::FrameNo f) {
    return kernel::frame_bytes(kernel::PhysAddr(f.value * kPageSize));
}

env::FrameCounts KernelFramePool::counts() const {
    return {.total = limit_, .free = limit_ - used_};
}

} // namespace tessera::node
