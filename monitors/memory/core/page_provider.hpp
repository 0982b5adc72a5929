// PageProvider: where the page service gets the pages of files from: the file cache of the home
// mComponent (monitors/memory/files). One shard; done may be called inside the call or later.
#pragma once

#include <cstdint>

#include "base/function.hpp"
#include "base/result.hpp"
#include "base/units.hpp"
#include "monitors/env/frames.hpp"

namespace tessera::mmon {

struct FilePage {
    enum class Kind : uint8_t { Present, Hole, End };
    Kind kind = Kind::Hole;
    env::FrameNo frame = {}; // Present: shared once for the receiver, who releases it; zero-padded
                             // behind the file's end
};

class PageProvider {
  public:
    using GotPage = Function<void(Result<FilePage>), 64>;
    using Stored = Function<void(Result<void>), 64>;

    // Errors: Stale (gone, or another generation), Io, Timeout.
    virtual void get_page(VnodeId vnode, FileId file, Generation generation, PageNo page,
                          GotPage done) = 0;
    // The whole page, clipped at the file's end. `data` is valid during the call only.
    virtual void put_page(VnodeId vnode, FileId file, Generation generation, PageNo page,
                          Bytes data, Stored done) = 0;
    // Gives up to `frames` clean frames back to the pool now; returns how many.
    virtual uint64_t reclaim(uint64_t frames) = 0;

  protected:
    ~PageProvider() = default;
};

} // namespace tessera::mmon
