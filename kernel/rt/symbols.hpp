// Names for code addresses, from the table that scripts/make_symbols put into the image.
#pragma once

#include <cstdint>
#include <string_view>

namespace tessera::kernel {

struct Symbol {
    std::string_view name; // "?" if the table does not know
    uint64_t offset = 0;   // of the address from the function's start
};

Symbol symbol_at(uint64_t address);

} // namespace tessera::kernel
