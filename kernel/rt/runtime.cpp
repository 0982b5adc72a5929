// What the C++ language asks of its environment: static construction, failure hooks, operator new.

#include <cstddef>
#include <cstdint>
#include <new>

#include "base/assert.hpp"
#include "kernel/mm/heap.hpp"
#include "kernel/rt/panic.hpp"

namespace tessera {

void assertion_failed(const char* expression, const char* file, int line) {
    kernel::panic("%s:%d: assertion failed: %s", file, line, expression);
}

} // namespace tessera

namespace {
using tessera::kernel::heap_allocate;
using tessera::kernel::heap_free;
using tessera::kernel::panic;

// Out of memory in operator new is the end: whatever can be refused is allocated from pools, or
// with nothrow new.
void* allocate_or_panic(size_t size, size_t alignment) {
    void* p = heap_allocate(size, alignment);
    if (!p) panic("out of kernel memory: %zu bytes", size);
    return p;
}
} // namespace

void* operator new(size_t n) {
    return allocate_or_panic(n, 16);
}
void* operator new[](size_t n) {
    return allocate_or_panic(n, 16);
}
void* operator new(size_t n, std::align_val_t a) {
    return allocate_or_panic(n, static_cast<size_t>(a));
}
void* operator new[](size_t n, std::align_val_t a) {
    return allocate_or_panic(n, static_cast<size_t>(a));
}
void* operator new(size_t n, const std::nothrow_t&) noexcept {
    return heap_allocate(n, 16);
}
void* operator new[](size_t n, const std::nothrow_t&) noexcept {
    return heap_allocate(n, 16);
}
void operator delete(void* p) noexcept {
    heap_free(p);
}
void operator delete[](void* p) noexcept {
    heap_free(p);
}
void operator delete(void* p, size_t) noexcept {
    heap_free(p);
}
void operator delete[](void* p, size_t) noexcept {
    heap_free(p);
}
void operator delete(void* p, std::align_val_t) noexcept {
    heap_free(p);
}
void operator delete[](void* p, std::align_val_t) noexcept {
    heap_free(p);
}
void operator delete(void* p, size_t, std::align_val_t) noexcept {
    heap_free(p);
}
void operator delete[](void* p, size_t, std::align_val_t) noexcept {
    heap_free(p);
}

namespace std {
const nothrow_t nothrow{};
inline namespace __1 {
// libc++'s hooks for "cannot happen here" (its headers refer to them).
[[noreturn]] void __throw_bad_alloc() {
    panic("out of kernel memory");
}
[[noreturn]] void __libcpp_verbose_abort(char const* format, ...) {
    panic("libc++: %s", format);
}
} // namespace __1
[[noreturn]] void terminate() noexcept {
    panic("std::terminate");
}
} // namespace std

extern "C" {

[[noreturn]] void abort() {
    panic("abort");
}
[[noreturn]] void __cxa_pure_virtual() {
    panic("pure virtual call");
}
[[noreturn]] void __cxa_deleted_virtual() {
    panic("deleted virtual call");
}
[[noreturn]] void __stack_chk_fail() {
    panic("stack smashed");
}
// The kernel never ends, so static objects are never destroyed.
int __cxa_atexit(void (*)(void*), void*, void*) {
    return 0;
}
void* __dso_handle = nullptr;

} // extern "C"
