#include <gtest/gtest.h>

#include <string>

#include "base/crc.hpp"
#include "base/endian.hpp"
#include "base/format.hpp"
#include "base/function.hpp"
#include "base/histogram.hpp"
#include "base/list.hpp"
#include "base/pool.hpp"
#include "base/ref.hpp"
#include "base/result.hpp"
#include "base/ring.hpp"

namespace tessera {
namespace {

TEST(Crc32, MatchesThePublishedCheckValue) {
    EXPECT_EQ(crc32(bytes_of("123456789")), 0xcbf43926u);
    std::string long_text(1000, 'x');
    uint32_t split = crc32_update(kCrc32Seed, bytes_of(std::string_view(long_text).substr(0, 333)));
    split = crc32_update(split, bytes_of(std::string_view(long_text).substr(333)));
    EXPECT_EQ(crc32_finish(split), crc32(bytes_of(long_text)));
}

TEST(Crc32, IsTheSameHoweverLongAndHoweverAligned) {
    std::string data(5000, 0);
    uint32_t x = 1;
    for (char& c : data)
        c = static_cast<char>((x = x * 1664525 + 1013904223) >> 24);
    auto bit_by_bit = [](uint32_t c, std::string_view s) {
        for (char byte : s) {
            c ^= static_cast<uint8_t>(byte);
            for (int i = 0; i < 8; i++)
                c = (c & 1) ? (c >> 1) ^ 0xedb88320u : c >> 1;
        }
        return c;
    };
    for (size_t size : {0, 1, 7, 8, 47, 48, 255, 256, 257, 263, 264, 300, 1024, 1031, 4096, 4991})
        for (size_t at : {0, 1, 4, 9}) {
            std::string_view part = std::string_view(data).substr(at, size);
            for (uint32_t seed : {kCrc32Seed, 0u, 0x12345678u})
                EXPECT_EQ(crc32_update(seed, bytes_of(part)), bit_by_bit(seed, part)) << size << at;
        }
}

TEST(LatencyHistogram, PercentilesAreWithinThreePercent) {
    LatencyHistogram h;
    EXPECT_EQ(h.percentile(500), Nanos{});
    for (int64_t n = 1; n <= 10'000; n++)
        h.record(microseconds(n));
    EXPECT_EQ(h.count(), 10'000u);
    for (unsigned permille : {1u, 250u, 500u, 990u, 1000u}) {
        int64_t exact = 10'000 * permille, got = h.percentile(permille).value;
        EXPECT_NEAR(static_cast<double>(got), static_cast<double>(exact), exact * 0.032)
            << permille;
    }
    h.clear();
    EXPECT_EQ(h.count(), 0u);
}

TEST(LatencyHistogram, TakesEveryValue) {
    LatencyHistogram h;
    for (int64_t v :
         {INT64_MIN, int64_t{-1}, int64_t{0}, int64_t{1}, int64_t{15}, int64_t{16}, INT64_MAX})
        h.record({v});
    EXPECT_EQ(h.count(), 7u);
    EXPECT_EQ(h.percentile(1), Nanos{0});
    EXPECT_EQ(h.percentile(700), Nanos{15});
    EXPECT_GT(h.percentile(1000).value, INT64_MAX / 100 * 96);
}

TEST(Endian, StoresTheStatedOrder) {
    Be32 be = 0x01020304u;
    Le32 le = 0x01020304u;
    EXPECT_EQ(be.raw[0], 1);
    EXPECT_EQ(le.raw[0], 4);
    EXPECT_EQ(be, 0x01020304u);
    EXPECT_EQ(le, 0x01020304u);
}

template <typename... A>
std::string formatted(const char* f, A... a) {
    char b[200];
    size_t n = format_text(b, sizeof b, f, a...);
    EXPECT_EQ(n, std::string(b).size());
    return b;
}

TEST(Format, AgreesWithTheStandardOne) {
    auto check = [](const char* f, auto... a) {
        char expected[200];
        snprintf(expected, sizeof expected, f, a...);
        EXPECT_EQ(formatted(f, a...), expected) << f;
    };
    check("%d|%5d|%-5d|%05d|%+d", -3, 42, 42, 42, 7);
    check("%x %#x %08lx %X", 255u, 255u, 0xdeadbeeful, 0xabcu);
    check("%s|%10s|%-10s|%.2s", "abc", "abc", "abc", "abc");
    check("%c%%%zu%hhu", 'q', size_t{12}, static_cast<unsigned char>(200));
    check("%ld %lld", -9223372036854775807l - 1, 5ll);
    check("%.3d|%8.3d|%#o", 5, 5, 8u);
    char small[4];
    EXPECT_EQ(format_text(small, sizeof small, "abcdef"), 6u);
    EXPECT_STREQ(small, "abc");
}

TEST(List, KeepsOrderAndSurvivesRemovalWhileIterating) {
    struct Item {
        explicit Item(int v) : v(v) {}
        int v;
        ListLink link;
    };
    List<Item, &Item::link> list;
    Item a{1}, b{2}, c{3};
    list.push_back(b);
    list.push_back(c);
    list.push_front(a);
    std::string seen;
    for (Item& i : list) {
        seen += std::to_string(i.v);
        list.remove(i);
    }
    EXPECT_EQ(seen, "123");
    EXPECT_TRUE(list.empty());
}

TEST(Ring, RefusesWhenFull) {
    Ring<int, 2> r;
    EXPECT_TRUE(r.push(1));
    EXPECT_TRUE(r.push(2));
    EXPECT_FALSE(r.push(3));
    EXPECT_EQ(r.pop(), 1);
    EXPECT_TRUE(r.push(3));
    EXPECT_EQ(r.pop(), 2);
    EXPECT_EQ(r.pop(), 3);
}

TEST(Pool, IsBounded) {
    Pool<int> p(2);
    int* a = p.create(1);
    int* b = p.create(2);
    EXPECT_EQ(p.create(3), nullptr);
    p.destroy(a);
    EXPECT_NE(a = p.create(4), nullptr);
    p.destroy(a);
    p.destroy(b);
}

TEST(Function, MovesItsCaptureOnce) {
    auto owned = std::make_unique<int>(5);
    Function<int(int)> f = [p = std::move(owned)](int x) { return *p + x; };
    Function<int(int)> g = std::move(f);
    EXPECT_FALSE(f);
    EXPECT_EQ(g(2), 7);
}

TEST(Ref, DeletesWithTheLastHolder) {
    struct Thing : RefCounted {
        explicit Thing(bool& gone) : gone(gone) {}
        ~Thing() override { gone = true; }
        bool& gone;
    };
    bool gone = false;
    Ref<Thing> a = make_ref<Thing>(gone);
    Ref<Thing> b = a;
    a = nullptr;
    EXPECT_FALSE(gone);
    b = nullptr;
    EXPECT_TRUE(gone);
}

Result<int> half(int v) {
    if (v % 2) return Fail(Error::InvalidArgument);
    return v / 2;
}
Result<int> quarter(int v) {
    int h = TRY(half(v));
    return TRY(half(h));
}

TEST(Result, TryReturnsTheFirstError) {
    EXPECT_EQ(*quarter(12), 3);
    EXPECT_EQ(quarter(6).error(), Error::InvalidArgument);
    for (int e = 1; e <= 47; e++)
        EXPECT_NE(describe(static_cast<Error>(e)), "unknown error") << e;
}

} // namespace
} // namespace tessera
