#include <cstring>
#include <memory>
#include <vector>

#include "kernel/arch/contract.hpp"
#include "kernel/mm/dma.hpp"
#include "kernel/mm/frames.hpp"
#include "kernel/mm/heap.hpp"
#include "kernel/mm/user_copy.hpp"
#include "kernel/mm/user_space.hpp"
#include "tests/kernel/ktest.hpp"

namespace tessera::kernel {
namespace {

KTEST(FramesComeAndGo) {
    FrameStats before = frame_stats();
    EXPECT(before.total > 10'000 && before.free <= before.total);
    std::vector<PhysAddr> held(2000);
    for (PhysAddr& f : held) {
        f = *allocate_frame();
        std::memset(direct_map(f), 0xaa, kPageSize);
    }
    for (PhysAddr f : held)
        EXPECT(phys_of(direct_map(f)) == f);
    for (PhysAddr f : held)
        free_frame(f);
    Result<PhysAddr> block = allocate_contiguous(300);
    EXPECT(block.has_value());
    std::memset(direct_map(*block), 0x55, 300 * kPageSize);
    free_contiguous(*block, 300);
    EXPECT(!allocate_contiguous(1u << 30));
    std::vector<PhysAddr>().swap(held);
    EXPECT(frame_stats().free + 8 > before.free);
}

KTEST(HeapServesEverySize) {
    HeapStats before = heap_stats();
    std::vector<std::pair<unsigned char*, size_t>> held;
    for (size_t n = 1; n < 40'000; n = n + n / 3 + 1) {
        auto* p = new unsigned char[n];
        EXPECT(reinterpret_cast<uint64_t>(p) % 16 == 0);
        std::memset(p, static_cast<int>(n), n);
        held.push_back({p, n});
    }
    for (auto [p, n] : held) {
        for (size_t i = 0; i < n; i++) {
            if (p[i] == static_cast<unsigned char>(n)) continue;
            EXPECT(!"overlap");
            break;
        }
        delete[] p;
    }
    for (size_t a = 16; a <= 4096; a *= 2) {
        void* p = heap_allocate(a + 8, a);
        EXPECT(p && reinterpret_cast<uint64_t>(p) % a == 0);
        heap_free(p);
    }
    EXPECT(heap_allocate(1ull << 40) == nullptr);
    std::vector<std::pair<unsigned char*, size_t>>().swap(held);
    EXPECT(heap_stats().bytes == before.bytes);
}

KTEST(DmaIsZeroedAndContiguous) {
    Result<DmaBuffer> b = allocate_dma(5 * kPageSize + 1);
    EXPECT(b && b->bytes.size() == 6 * kPageSize && b->phys.page_offset() == 0);
    for (std::byte x : b->bytes) {
        if (x == std::byte{0}) continue;
        EXPECT(!"not zeroed");
        break;
    }
    EXPECT(phys_of(b->bytes.data() + 5000) == b->phys + 5000);
    EXPECT(!map_mmio(b->phys, 16)); // RAM is not a device
    free_dma(*b);
    EXPECT(b->bytes.empty());
}

KTEST(PageTableMapsAndForgets) {
    size_t before = frame_stats().free;
    PhysAddr frame = *allocate_frame();
    {
        Own<PageTable> t = std::move(*PageTable::create());
        VirtAddr at(0x400000);
        EXPECT(!t->query(at));
        EXPECT(t->map(at, frame, {true, true, false}).has_value());
        EXPECT(!t->map(VirtAddr(0xffff800000000000), frame, {}));
        EXPECT(!t->map(VirtAddr(0x400001), frame, {}));
        EXPECT(t->query(at)->frame == frame && !t->query(at)->accessed);
        t->activate();
        EXPECT(write_user<uint64_t>(at + 8, 77).has_value());
        EXPECT(*read_user<uint64_t>(at + 8) == 77);
        EXPECT(t->query(at)->accessed && t->query(at)->dirty);
        EXPECT(t->test_and_clear_dirty(at) && !t->test_and_clear_dirty(at));
        EXPECT(write_user<uint64_t>(at, 1).has_value() && t->query(at)->dirty);
        EXPECT(t->protect(at, {true, false, false}).has_value());
        EXPECT(write_user<uint64_t>(at, 2).error() == Error::BadAddress);
        EXPECT(*read_user<uint64_t>(at) == 1);
        EXPECT(t->protect(at, {false, false, false}).has_value());
        EXPECT(read_user<uint64_t>(at).error() == Error::BadAddress);
        EXPECT(t->query(at)->frame == frame);
        EXPECT(t->map(VirtAddr(0x7ffffffe0000), frame, {true, false, false}).has_value());
        EXPECT(t->unmap(at)->dirty);
        EXPECT(!t->unmap(at));
        t->unmap_range(VirtAddr(0x1000), 0x7ffffffee000);
        EXPECT(!t->query(VirtAddr(0x7ffffffe0000)));
        PageTable::activate_kernel_only();
    }
    free_frame(frame);
    EXPECT(frame_stats().free + 4 >= before);
}

PageTable* faulting_table = nullptr;
PhysAddr faulting_frame;
unsigned faults = 0;

KTEST(UserCopiesFaultCleanly) {
    Own<PageTable> t = std::move(*PageTable::create());
    t->activate();
    char text[32];
    EXPECT(copy_from_user(mutable_bytes_of(text), VirtAddr(0x10000)).error() == Error::BadAddress);
    EXPECT(copy_to_user(VirtAddr(0xffffffff80100000), bytes_of(text)).error() == Error::BadAddress);
    EXPECT(copy_to_user(VirtAddr(0x0000'8000'0000'0000), bytes_of(text)).error() ==
           Error::BadAddress);
    EXPECT(copy_to_user(VirtAddr(~0ull - 4), bytes_of(text)).error() == Error::BadAddress);

    faulting_table = t.get();
    faulting_frame = *allocate_frame();
    set_page_fault_handler([](VirtAddr a, Access) -> Result<void> {
        faults++;
        if (a >= VirtAddr(0x20000) && a < VirtAddr(0x21000))
            return faulting_table->map(a.page(), faulting_frame, {true, true, false});
        return Fail(Error::NotFound);
    });
    EXPECT(copy_to_user(VirtAddr(0x20ff8), bytes_of("12345678")).has_value());
    EXPECT(faults == 1);
    EXPECT(copy_to_user(VirtAddr(0x20ff8), bytes_of("123456789")).error() == Error::BadAddress);
    EXPECT(zero_user(VirtAddr(0x20100), 64).has_value());
    EXPECT(copy_to_user(VirtAddr(0x20100), bytes_of("path/name")).has_value());
    std::array<char, 16> name;
    EXPECT(*copy_string_from_user(name, VirtAddr(0x20100)) == 9);
    EXPECT(std::string_view(name.data()) == "path/name");
    EXPECT(copy_string_from_user(std::span(name).first(5), VirtAddr(0x20100)).error() ==
           Error::NameTooLong);
    EXPECT(copy_string_from_user(name, VirtAddr(0x20ff8)).error() == Error::BadAddress);
    set_page_fault_handler(nullptr);
    PageTable::activate_kernel_only();
    free_frame(faulting_frame);
}

KTEST_FATAL(WriteToText) {
    auto* p = reinterpret_cast<volatile unsigned char*>(&frame_stats);
    *p = 0xcc;
}

KTEST_FATAL(ExecuteData) {
    static unsigned char code[] = {0xc3};
    reinterpret_cast<void (*)()>(+code)();
}

[[clang::optnone]] int recurse(int n) {
    volatile char room[2000] = {};
    room[n % 2000] = 1;
    return n < 1'000'000 ? recurse(n + 1) + room[0] : 0;
}
KTEST_FATAL(StackOverflow) {
    recurse(0);
}

KTEST_FATAL(TouchUserMemory) { // SMAP
    Own<PageTable> t = std::move(*PageTable::create());
    EXPECT(t->map(VirtAddr(0x400000), *allocate_frame(), {true, true, false}).has_value());
    t->activate();
    *reinterpret_cast<volatile int*>(0x400000) = 1;
}

KTEST_FATAL(IndexOutOfBounds) {
    static int table[4];
    volatile unsigned i = 4;
    table[i] = 1;
}

[[gnu::noinline]] void overrun(size_t n) {
    volatile char room[16];
    volatile char* p = room;
    for (size_t i = 0; i < n; i++)
        p[i] = 1;
}
KTEST_FATAL(StackSmashed) {
    overrun(64);
}

KTEST_FATAL(DoubleFree) {
    int* volatile p = new int(1);
    delete p;
    PhysAddr f = *allocate_frame();
    free_frame(f);
    free_frame(f);
}

KTEST_FATAL(FailedAssertion) {
    ASSERT(frame_stats().total == 0);
}

} // namespace
} // namespace tessera::kernel
