#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/endian.hpp"
#include "monitors/process/posix/exec/elf.hpp"

namespace tessera::posix {
namespace {

// A small valid static program, field by field.
struct Builder {
    std::vector<std::byte> file = std::vector<std::byte>(8192);
    template <typename T>
    void at(size_t offset, T v) {
        std::memcpy(file.data() + offset, &v, sizeof v);
    }
    Builder() {
        std::memcpy(file.data(), "\177ELF\2\1\1", 7);
        at<uint16_t>(16, 2);
        at<uint16_t>(18, 62);
        at<uint64_t>(24, 0x400100); // entry
        at<uint64_t>(32, 64);       // program headers
        at<uint16_t>(54, 56);
        at<uint16_t>(56, 2);
        segment(0, 5, 0, 0x400000, 0x1000, 0x1000);
        segment(1, 6, 0x1000, 0x401000, 0x800, 0x3000);
    }
    void segment(int i, uint32_t flags, uint64_t offset, uint64_t address, uint64_t bytes,
                 uint64_t memory) {
        size_t p = 64 + 56 * static_cast<size_t>(i);
        at<uint32_t>(p, 1);
        at<uint32_t>(p + 4, flags);
        at<uint64_t>(p + 8, offset);
        at<uint64_t>(p + 16, address);
        at<uint64_t>(p + 32, bytes);
        at<uint64_t>(p + 40, memory);
    }
    Result<ElfImage> parse() {
        Bytes head = Bytes(file).first(64);
        auto place = find_program_headers(head);
        if (!place) return Fail(place.error());
        if (place->offset > file.size() || place->bytes > file.size() - place->offset)
            return Fail(Error::NotExecutable);
        return parse_elf(head, Bytes(file).subspan(place->offset, place->bytes), file.size());
    }
};

TEST(Elf, ParsesAStaticProgram) {
    Builder b;
    auto image = b.parse();
    ASSERT_TRUE(image);
    EXPECT_FALSE(image->relocatable);
    EXPECT_EQ(image->entry, 0x400100u);
    EXPECT_EQ(image->headers_address, 0x400040u);
    ASSERT_EQ(image->segments.size(), 2u);
    EXPECT_TRUE(image->segments[0].execute);
    EXPECT_FALSE(image->segments[0].write);
    EXPECT_EQ(image->segments[1].memory_size, 0x3000u);
    EXPECT_EQ(image->highest(), 0x404000u);
}

TEST(Elf, RefusesWhatIsHostile) {
    struct Case {
        const char* what;
        void (*spoil)(Builder&);
    };
    const Case cases[] = {
        {"magic", [](Builder& b) { b.at<uint8_t>(0, 'X'); }},
        {"32 bit", [](Builder& b) { b.at<uint8_t>(4, 1); }},
        {"big endian", [](Builder& b) { b.at<uint8_t>(5, 2); }},
        {"machine", [](Builder& b) { b.at<uint16_t>(18, 183); }},
        {"object file", [](Builder& b) { b.at<uint16_t>(16, 1); }},
        {"no headers", [](Builder& b) { b.at<uint16_t>(56, 0); }},
        {"many headers", [](Builder& b) { b.at<uint16_t>(56, 65535); }},
        {"header size", [](Builder& b) { b.at<uint16_t>(54, 1); }},
        {"headers outside", [](Builder& b) { b.at<uint64_t>(32, ~0ull - 8); }},
        {"segment past the file",
         [](Builder& b) { b.segment(0, 5, 0, 0x400000, 0x100000, 0x100000); }},
        {"segment wraps", [](Builder& b) { b.segment(0, 5, 0, 0x400000, 0x1000, ~0ull); }},
        {"kernel address",
         [](Builder& b) { b.segment(0, 5, 0, 0xffffffff80000000, 0x1000, 0x1000); }},
        {"page zero", [](Builder& b) { b.segment(0, 5, 0, 0, 0x1000, 0x1000); }},
        {"overlap", [](Builder& b) { b.segment(1, 6, 0x800, 0x400800, 0x10, 0x10); }},
        {"misaligned", [](Builder& b) { b.segment(1, 6, 0x1001, 0x402000, 0x10, 0x10); }},
        {"more file than memory",
         [](Builder& b) { b.segment(1, 6, 0x1000, 0x401000, 0x800, 0x10); }},
        {"entry not executable", [](Builder& b) { b.at<uint64_t>(24, 0x401000); }},
        {"entry nowhere", [](Builder& b) { b.at<uint64_t>(24, 0x700000); }},
    };
    for (const Case& c : cases) {
        Builder b;
        c.spoil(b);
        auto image = b.parse();
        EXPECT_FALSE(image.has_value()) << c.what;
        if (!image) EXPECT_EQ(image.error(), Error::NotExecutable) << c.what;
    }
}

TEST(Elf, RefusesEveryTruncation) {
    Builder b;
    for (size_t n = 0; n < 64; n++)
        EXPECT_FALSE(find_program_headers(Bytes(b.file).first(n)));
    b.file.resize(0x17ff);
    EXPECT_FALSE(b.parse());
}

} // namespace
} // namespace tessera::posix
