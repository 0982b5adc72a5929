// The only way kernel code reads and writes user memory by address (protocols.md section 8).
//
// May fault, and the fault may sleep until a page has come over the network. So each of these
// asserts, in every build, that interrupts are on and no spinlock is held; address-space locks must
// not be held either. BadAddress: the range is not the user's or the page-fault handler refused a
// page; `to` may then have been written in part.
#pragma once

#include <cstddef>

#include "base/bytes.hpp"
#include "base/function.hpp"
#include "base/result.hpp"
#include "kernel/mm/address.hpp"

namespace tessera::kernel {

Result<void> copy_from_user(MutableBytes to, VirtAddr from);
Result<void> copy_to_user(VirtAddr to, Bytes from);
Result<void> zero_user(VirtAddr to, size_t bytes);
// Copies up to and including the terminating zero; returns the length without it. NameTooLong: no
// zero within `to`.
Result<size_t> copy_string_from_user(std::span<char> to, VirtAddr from);

template <typename T>
    requires std::is_trivially_copyable_v<T>
Result<T> read_user(VirtAddr from) {
    T v;
    TRY(copy_from_user(mutable_bytes_of(v), from));
    return v;
}
template <typename T>
    requires std::is_trivially_copyable_v<T>
Result<void> write_user(VirtAddr to, const T& v) {
    return copy_to_user(to, bytes_of(v));
}

enum class Access : unsigned char { Read, Write, Execute };

// Resolves a fault of the running thread at a user address: by the copy functions above, and by
// whoever runs user code (UserExit::PageFault). Runs in thread context, interrupts on, may sleep.
// Returns success to retry the access. Any error makes the copy fail with BadAddress; a user-mode
// fault is the caller's business anyway.
using PageFaultHandler = Result<void> (*)(VirtAddr address, Access access);
void set_page_fault_handler(PageFaultHandler handler);

} // namespace tessera::kernel
