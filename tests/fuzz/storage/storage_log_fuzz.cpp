// Records without the checksums around them: the input is a sequence of records (16-bit length,
// items) applied to an empty index, which is then verified. Errors are fine; anything else is a
// bug.
#include <cstddef>
#include <cstdint>

#include "monitors/storage/core/verify.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace tessera;
    using namespace tessera::storage;
    Index index(4096, 8);
    Bytes left(reinterpret_cast<const std::byte*>(data), size);
    while (left.size() >= 2) {
        size_t n = std::min<size_t>(load<Le16>(left), left.size() - 2);
        if (!index.apply(left.subspan(2, n))) break;
        left = left.subspan(2 + n);
    }
    index.count_usage();
    Allocator used(index.data_blocks());
    verify_index(index, used, [](const char*) {});
    return 0;
}
