// The file home as the page service's PageProvider.
#pragma once

#include "monitors/memory/core/page_provider.hpp"
#include "monitors/memory/files/file_home.hpp"

namespace tessera::mmon {

class FileProvider final : public PageProvider {
  public:
    explicit FileProvider(FileHome& home) : home_(home) {}

    void get_page(VnodeId vnode, FileId file, Generation generation, PageNo page,
                  GotPage done) override;
    void put_page(VnodeId vnode, FileId file, Generation generation, PageNo page, Bytes data,
                  Stored done) override;
    uint64_t reclaim(uint64_t frames) override { return home_.shrink(frames); }

  private:
    FileHome& home_;
};

} // namespace tessera::mmon
