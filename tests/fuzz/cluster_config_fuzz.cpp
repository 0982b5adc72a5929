// cluster.toml: any text is a configuration or a problem that names the file.
#include <cstdlib>

#include "tools/tess/config.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    auto c = tessera::tess::parse_config({reinterpret_cast<const char*>(data), size}, "c.toml");
    if (!c && !c.error().starts_with("c.toml:")) std::abort();
    return 0;
}
