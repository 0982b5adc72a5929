#include "kernel/mm/user_copy.hpp"

#include "base/assert.hpp"
#include "kernel/arch/contract.hpp"

extern "C" { // kernel/arch/x86_64/entry.S
bool user_copy(void* to, const void* from, size_t n);
bool user_zero(void* to, size_t n);
int64_t user_string(char* to, const char* from, size_t n);
}

namespace tessera::kernel {
namespace {

void* pointer(VirtAddr a) {
    return reinterpret_cast<void*>(a.value);
}

// A spinlock holder has interrupts off; so this covers locks and shard steps of interrupt context.
void assert_may_sleep() {
    ASSERT(arch::interrupts_enabled());
}

} // namespace

Result<void> copy_from_user(MutableBytes to, VirtAddr from) {
    assert_may_sleep();
    if (to.empty()) return {};
    if (!is_user_range(from, to.size())) return Fail(Error::BadAddress);
    if (!user_copy(to.data(), pointer(from), to.size())) return Fail(Error::BadAddress);
    return {};
}

Result<void> copy_to_user(VirtAddr to, Bytes from) {
    assert_may_sleep();
    if (from.empty()) return {};
    if (!is_user_range(to, from.size())) return Fail(Error::BadAddress);
    if (!user_copy(pointer(to), from.data(), from.size())) return Fail(Error::BadAddress);
    return {};
}

Result<void> zero_user(VirtAddr to, size_t bytes) {
    assert_may_sleep();
    if (bytes == 0) return {};
    if (!is_user_range(to, bytes)) return Fail(Error::BadAddress);
    if (!user_zero(pointer(to), bytes)) return Fail(Error::BadAddress);
    return {};
}

Result<size_t> copy_string_from_user(std::span<char> to, VirtAddr from) {
    assert_may_sleep();
    if (from < kUserStart || from >= kUserEnd) return Fail(Error::BadAddress);
    size_t room = kUserEnd - from;
    bool cut = room < to.size();
    size_t limit = cut ? room : to.size();
    int64_t n = user_string(to.data(), static_cast<const char*>(pointer(from)), limit);
    if (n < 0 || (cut && static_cast<size_t>(n) == limit)) return Fail(Error::BadAddress);
    if (static_cast<size_t>(n) == limit) return Fail(Error::NameTooLong);
    return static_cast<size_t>(n);
}

} // namespace tessera::kernel
