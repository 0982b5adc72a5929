// The kernel's page tables as env::PageMapper.
#pragma once

#include "kernel/mm/user_space.hpp"
#include "monitors/env/page_mapper.hpp"

namespace tessera::node {

class KernelPageMapper final : public env::PageMapper {
  public:
    explicit KernelPageMapper(Own<kernel::PageTable> table) : table_(std::move(table)) {}

    Result<void> map(uint64_t page, env::FrameNo frame, env::PageRights rights) override {
        return table_->map(kernel::VirtAddr(page), kernel::PhysAddr(frame.value * kPageSize),
                           {.read = rights.read, .write = rights.write, .execute = rights.execute});
    }
    void unmap(uint64_t page) override { (void)table_->unmap(kernel::VirtAddr(page)); }
    void remove_write(uint64_t page) override {
        Result<kernel::PageState> now = table_->query(kernel::VirtAddr(page));
        if (!now || !now->protection.write) return;
        kernel::Protection p = now->protection;
        p.write = false;
        (void)table_->protect(kernel::VirtAddr(page), p);
    }
    bool test_and_clear_accessed(uint64_t page) override {
        return table_->test_and_clear_accessed(kernel::VirtAddr(page));
    }
    void activate() override { table_->activate(); }
    void leave() override { table_->leave(); }

  private:
    Own<kernel::PageTable> table_;
};

class KernelPageMapperFactory final : public env::PageMapperFactory {
  public:
    Result<Own<env::PageMapper>> create() override {
        return Own<env::PageMapper>(new KernelPageMapper(TRY(kernel::PageTable::create())));
    }
};

} // namespace tessera::node
