// A hostile disk: a small valid image is changed as the input says, checksums are repaired where
// asked, and then it is mounted, checked, walked and written to. Whatever it says, the answer is an
// Error.
//
// Input: five bytes per change: index of the block (among those in use), offset (2), value, and a
// flag whose lowest bit repairs the block's checksum.
#include <cstddef>
#include <cstdint>

#include "base/log.hpp"
#include "monitors/storage/core/disk_format.hpp"
#include "monitors/storage/core/stream.hpp"
#include "tests/unit/monitors/storage/store_driver.hpp"

namespace tessera::storage::test {
namespace {

constexpr uint64_t kBlocks = 1024;
ObjectRef root;

Image make_image() {
    StoreDriver s(kBlocks);
    s.make({.log_blocks = 192});
    root = s.root;
    ObjectRef d = s.mkdir(s.root, "d")->object;
    ObjectRef f = s.file(d, "f");
    ASSERT(s.write(f, 5000, "some data"));
    ASSERT(s.symlink(d, "l", "f"));
    ASSERT(s.checkpoint());
    ASSERT(s.mkdir(d, "e"));
    ASSERT(s.hold(f, 3));
    ASSERT(s.rename(d, "f", s.root, "g"));
    ASSERT(s.write(f, 0, "more"));
    ASSERT(s.sync());
    return s.disk.image();
}

template <typename T>
bool repair(std::vector<std::byte>& block, uint64_t magic) {
    T t = load<T>(block);
    if (t.magic != magic) return false;
    t.checksum = block_checksum(block, offsetof(T, checksum));
    store(MutableBytes(block), t);
    return true;
}

void change(Image& image, const uint8_t* in) {
    auto at = image.begin();
    std::advance(at, in[0] % image.size());
    auto block = std::make_shared<std::vector<std::byte>>(*at->second);
    (*block)[(in[1] | in[2] << 8) % env::kBlockSize] = std::byte{in[3]};
    if (in[4] & 1) {
        repair<Superblock>(*block, kSuperblockMagic) ||
            repair<PartitionTable>(*block, kPartitionMagic) ||
            repair<StoreHeader>(*block, kHeaderMagic) || repair<StreamBlock>(*block, kLogMagic) ||
            repair<StreamBlock>(*block, kSnapshotMagic);
    }
    at->second = block;
}

} // namespace
} // namespace tessera::storage::test

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace tessera::storage::test;
    tessera::set_log_sink([](tessera::LogLevel, const char*, std::string_view) {});
    static const Image valid = make_image();
    Image image = valid;
    for (; size >= 5; data += 5, size -= 5)
        change(image, data);
    StoreDriver s(kBlocks, std::move(image));
    s.disk.record = false;
    s.root = root;
    if (!s.mount()) return 0;
    s.check();
    if (s.getattr(s.root) && s.getattr(s.root)->type == tessera::storage::FileType::Directory) {
        s.lookup("d/e/../../g").has_value() ? void() : void();
        if (auto made = s.create(s.root, "new"))
            s.write(made->attributes.object, 0, "x") ? void() : void();
        s.unlink(s.root, "g") ? void() : void();
    }
    s.remount() ? void() : void();
    return 0;
}
