#include "kernel/mm/kernel_map.hpp"

#include <cstring>

#include "boot/x86_64/layout.h"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/mm/dma.hpp"
#include "kernel/mm/frames.hpp"
#include "kernel/mm/internal.hpp"
#include "kernel/rt/panic.hpp"

extern "C" {
extern const char __text_start[], __text_end[], __rodata_start[], __rodata_end[], __data_start[],
    __data_end[];
extern const char initial_stack_bottom[];
}

namespace tessera::kernel {
namespace {

// Stacks come in slots of the stack and one guard page; registers are mapped behind kMmioBase.
constexpr uint64_t kSlotSize = kKernelStackSize + kPageSize;
constexpr uint64_t kMaxStacks = 65536;
constexpr uint64_t kMmioBase = KERNEL_MAP_BASE + (64ull << 30);
constexpr uint64_t kMmioEnd = KERNEL_MAP_BASE + (512ull << 30);
static_assert(kSlotSize * kMaxStacks < (64ull << 30));

constinit Spinlock lock; // guards all below and changes of the kernel's tables
uint64_t root = 0;
uint64_t next_mmio = kMmioBase;
uint64_t stack_slots = 0;
uint64_t free_stacks =
    0; // top of the first; the next one's top is stored at the stack's first word

uint64_t* table_at(uint64_t phys) {
    return static_cast<uint64_t*>(direct_map(PhysAddr(phys & kPteAddress)));
}

Result<uint64_t> new_table() {
    PhysAddr frame = TRY(allocate_frame());
    std::memset(direct_map(frame), 0, kPageSize);
    return frame.value;
}

// The entry for `address` at `level` (1: 4 KiB, 2: 2 MiB), made if need be.
Result<uint64_t*> entry_for(uint64_t address, int level) {
    uint64_t* table = table_at(root);
    for (int l = 4; l > level; l--) {
        uint64_t& e = table[address >> (12 + 9 * (l - 1)) & 511];
        if (!(e & kPtePresent)) e = TRY(new_table()) | kPtePresent | kPteWrite;
        table = table_at(e);
    }
    return &table[address >> (12 + 9 * (level - 1)) & 511];
}

Result<void> map_page(uint64_t address, uint64_t phys, uint64_t flags) {
    uint64_t* e = TRY(entry_for(address, 1));
    ASSERT(!(*e & kPtePresent));
    *e = phys | flags | kPtePresent | kPteAccessed | kPteDirty;
    return {};
}

void map_image(const char* from, const char* to, uint64_t flags) {
    auto end = reinterpret_cast<uint64_t>(to);
    for (auto a = reinterpret_cast<uint64_t>(from); a < end; a += kPageSize) {
        // The first stack's lowest page is its guard.
        if (a == reinterpret_cast<uint64_t>(initial_stack_bottom)) continue;
        if (!map_page(a, a - KERNEL_IMAGE_BASE, flags)) panic("no memory for page tables");
    }
}

Result<uint64_t> new_stack() {
    if (stack_slots == kMaxStacks) return Fail(Error::NoMemory);
    uint64_t bottom = KERNEL_MAP_BASE + stack_slots * kSlotSize + kPageSize;
    // A slot is used up even if a frame is missing half way: its pages stay mapped for nothing,
    // which is bounded by how often memory runs out here. So look first.
    if (frame_stats().free < kKernelStackSize / kPageSize + 16) return Fail(Error::NoMemory);
    stack_slots++;
    for (uint64_t a = bottom; a < bottom + kKernelStackSize; a += kPageSize) {
        PhysAddr frame = TRY(allocate_frame());
        TRY(map_page(a, frame.value, kPteWrite | kPteNoExecute));
    }
    return bottom + kKernelStackSize;
}

} // namespace

void start_kernel_map(uint64_t direct_map_end) {
    Result<uint64_t> first = new_table();
    if (!first) panic("no memory for page tables");
    root = *first;
    map_image(__text_start, __text_end, 0);
    map_image(__rodata_start, __rodata_end, kPteNoExecute);
    map_image(__data_start, __data_end, kPteWrite | kPteNoExecute);
    for (uint64_t phys = 0; phys < direct_map_end; phys += mib(2)) {
        Result<uint64_t*> e = entry_for(DIRECT_MAP_BASE + phys, 2);
        if (!e) panic("no memory for the direct map");
        **e = phys | kPtePresent | kPteWrite | kPteNoExecute | kPteLarge | kPteAccessed | kPteDirty;
    }
    // So that every user table can copy the upper half once and for all.
    if (!entry_for(KERNEL_MAP_BASE, 3)) panic("no memory for page tables");
    static_assert((kMmioEnd - 1) >> 39 == KERNEL_MAP_BASE >> 39);
    arch::write_cr3(root);
    arch::this_cpu().loaded_root.store(root);
}

uint64_t kernel_root() {
    return root;
}

void copy_kernel_half(uint64_t* to) {
    std::memcpy(to + 256, table_at(root) + 256, 256 * sizeof(uint64_t));
}

Result<uint64_t> allocate_kernel_stack() {
    SpinGuard guard(lock);
    if (!free_stacks) return new_stack();
    uint64_t top = free_stacks;
    free_stacks = *reinterpret_cast<uint64_t*>(top - kKernelStackSize);
    return top;
}

void free_kernel_stack(uint64_t top) {
    SpinGuard guard(lock);
    *reinterpret_cast<uint64_t*>(top - kKernelStackSize) = free_stacks;
    free_stacks = top;
}

bool is_stack_guard(VirtAddr address) {
    uint64_t a = address.value;
    auto initial = reinterpret_cast<uint64_t>(initial_stack_bottom);
    if (a >= initial && a < initial + kPageSize) return true;
    if (a < KERNEL_MAP_BASE || a >= KERNEL_MAP_BASE + stack_slots * kSlotSize) return false;
    return (a - KERNEL_MAP_BASE) % kSlotSize < kPageSize;
}

Result<volatile std::byte*> map_mmio(PhysAddr start, size_t bytes) {
    if (bytes == 0 || bytes > (1ull << 36) || start.value > kPteAddress - bytes)
        return Fail(Error::InvalidArgument);
    if (is_managed_ram(start, bytes)) return Fail(Error::InvalidArgument);
    SpinGuard guard(lock);
    uint64_t size = align_up(start.page_offset() + bytes, kPageSize);
    if (size > kMmioEnd - next_mmio) return Fail(Error::NoMemory);
    uint64_t at = next_mmio;
    next_mmio += size + kPageSize;
    for (uint64_t i = 0; i < size; i += kPageSize) {
        TRY(map_page(at + i, start.page().value + i,
                     kPteWrite | kPteNoExecute | kPteNoCache | kPteWriteThrough));
    }
    return reinterpret_cast<volatile std::byte*>(at + start.page_offset());
}

Result<DmaBuffer> allocate_dma(size_t bytes) {
    if (bytes == 0 || bytes > (1ull << 32)) return Fail(Error::InvalidArgument);
    size_t pages = (bytes + kPageSize - 1) >> kPageShift;
    PhysAddr phys = TRY(allocate_contiguous(pages));
    auto* p = static_cast<std::byte*>(direct_map(phys));
    std::memset(p, 0, pages << kPageShift);
    return DmaBuffer{{p, pages << kPageShift}, phys};
}

void free_dma(DmaBuffer& buffer) {
    if (buffer.bytes.empty()) return;
    free_contiguous(buffer.phys, buffer.bytes.size() >> kPageShift);
    buffer = DmaBuffer{};
}

} // namespace tessera::kernel
