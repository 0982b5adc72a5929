// PageMapper: the translations of one user address space, as the ExCache edits them.
//
// The kernel wraps kernel::PageTable; hosted tests use a map. Only the shard edits (one editor, so
// no lock); faults and accesses on other CPUs go on meanwhile. When a call that takes rights away
// returns, no CPU uses the old rights any more.
#pragma once

#include <cstdint>

#include "base/ref.hpp"
#include "base/result.hpp"
#include "monitors/env/frames.hpp"

namespace tessera::env {

struct PageRights {
    bool read = true;
    bool write = false;
    bool execute = false;
    bool operator==(const PageRights&) const = default;
};

class PageMapper {
  public:
    // If it is current on this CPU, it is left first; it is current on no other.
    virtual ~PageMapper() = default;
    // `page` is the user virtual address, page aligned. Replaces what was mapped. NoMemory.
    virtual Result<void> map(uint64_t page, FrameNo frame, PageRights rights) = 0;
    virtual void unmap(uint64_t page) = 0; // nothing if not mapped
    virtual void remove_write(uint64_t page) = 0;
    virtual bool test_and_clear_accessed(uint64_t page) = 0;
    // Makes it current on this CPU (thread context).
    virtual void activate() = 0;
    // The calling thread, if this is current for it, goes on without any user memory. Every thread
    // that made it current does so before it may be destroyed: another thread's step does that.
    virtual void leave() = 0;
};

class PageMapperFactory {
  public:
    virtual Result<Own<PageMapper>> create() = 0; // NoMemory

  protected:
    ~PageMapperFactory() = default;
};

} // namespace tessera::env
