#include "monitors/memory/files/file_provider.hpp"

namespace tessera::mmon {

void FileProvider::get_page(VnodeId vnode, FileId file, Generation generation, PageNo page,
                            GotPage done) {
    // The completion is kept on the heap: it is as large as the one it is put into.
    auto kept = std::make_unique<GotPage>(std::move(done));
    home_.provide({vnode, file, generation}, page, 1,
                  [kept = std::move(kept)](Result<FileHome::Provided> r) {
                      if (!r) return (*kept)(std::unexpected(r.error()));
                      FilePage p;
                      p.kind = r->count ? FilePage::Kind::Present : FilePage::Kind::End;
                      p.frame = r->frames[0];
                      (*kept)(p);
                  });
}

void FileProvider::put_page(VnodeId vnode, FileId file, Generation generation, PageNo page,
                            Bytes data, Stored done) {
    home_.put_page({vnode, file, generation}, page, data, std::move(done));
}

} // namespace tessera::mmon
