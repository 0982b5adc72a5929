// Whether an index makes sense: used at mount, so that no disk image, however hostile, leads the
// store astray, and by check().
#pragma once

#include "monitors/storage/core/allocator.hpp"
#include "monitors/storage/core/index.hpp"

namespace tessera::storage {

// Told of each contradiction, in a sentence.
using ProblemSink = Function<void(const char* sentence), 32>;

// Checks names, links, parents, roots, extents and holds; marks the blocks in use in `used`, which
// starts empty. Returns the number of problems.
uint64_t verify_index(Index& index, Allocator& used, ProblemSink problem);

} // namespace tessera::storage
