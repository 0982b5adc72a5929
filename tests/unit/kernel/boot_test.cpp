// The parsers of what boot loaders and firmware pass, on hand-made tables.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "base/endian.hpp"
#include "boot/acpi/acpi.hpp"
#include "boot/boot_info.hpp"
#include "boot/multiboot2/multiboot2.hpp"
#include "boot/physical_memory.hpp"
#include "boot/pvh/pvh.hpp"

namespace tessera::boot {
namespace {

// Pieces of memory at physical addresses; everything else is not there.
class Memory final : public PhysicalMemory {
  public:
    std::map<uint64_t, std::string> pieces;
    Bytes at(uint64_t address, uint64_t size) const override {
        auto it = pieces.upper_bound(address);
        if (it == pieces.begin()) return {};
        --it;
        uint64_t offset = address - it->first;
        if (offset > it->second.size() || size > it->second.size() - offset) return {};
        return bytes_of(std::string_view(it->second)).subspan(offset, size);
    }
};

std::string le(uint64_t v, int bytes) {
    std::string s;
    for (int i = 0; i < bytes; i++)
        s += static_cast<char>(v >> 8 * i);
    return s;
}

std::string tag(uint32_t type, std::string body) {
    std::string s = le(type, 4) + le(body.size() + 8, 4) + body;
    s.resize((s.size() + 7) / 8 * 8);
    return s;
}
std::string multiboot(std::string tags) {
    return le(8 + tags.size(), 4) + le(0, 4) + tags;
}
const std::string kEndTag = tag(0, "");

TEST(CommandLine, FindsWordsAndLastValues) {
    std::string_view line = "  role=a verbose  role=b rolex=c empty= ";
    EXPECT_EQ(command_line_option(line, "role"), "b");
    EXPECT_EQ(command_line_option(line, "verbose"), "verbose");
    EXPECT_EQ(command_line_option(line, "rol"), "");
    EXPECT_EQ(command_line_option(line, "empty"), "");
    EXPECT_EQ(command_line_option("", "role"), "");
}

TEST(Multiboot2, UnderstandsWhatGrubSends) {
    Memory m;
    std::string map = le(24, 4) + le(0, 4) + le(0, 8) + le(0x9fc00, 8) + le(1, 4) + le(0, 4) +
                      le(0x100000, 8) + le(0xff00000, 8) + le(1, 4) + le(0, 4) + le(0xfffc0000, 8) +
                      le(0x40000, 8) + le(2, 4) + le(0, 4);
    m.pieces[0x5000] = multiboot(
        tag(1, std::string("role=memory x\0", 14)) + tag(2, std::string("GRUB 2.06\0", 10)) +
        tag(3, le(0x200000, 4) + le(0x200123, 4) + std::string("component.cfg\0", 14)) +
        tag(6, map) + tag(99, "unknown") + tag(14, std::string(20, 'o')) +
        tag(15, std::string(36, 'n')) + kEndTag);
    BootInfo info;
    ASSERT_TRUE(parse_multiboot2(m, 0x5000, info).has_value());
    EXPECT_EQ(info.command_line.view(), "role=memory x");
    EXPECT_EQ(info.loader.view(), "GRUB 2.06");
    ASSERT_EQ(info.memory_count, 3u);
    EXPECT_EQ(info.memory[1].size, 0xff00000u);
    EXPECT_EQ(info.memory[2].kind, MemoryKind::Reserved);
    ASSERT_EQ(info.module_count, 1u);
    EXPECT_EQ(info.modules[0].name.view(), "component.cfg");
    EXPECT_EQ(info.modules[0].size, 0x123u);
    EXPECT_EQ(info.rsdp_copy_size, 36u);
    EXPECT_EQ(info.rsdp_copy[0], std::byte{'n'});
    EXPECT_FALSE(info.truncated);
}

TEST(Multiboot2, RefusesWhatDoesNotFit) {
    auto parse = [](std::string bytes) {
        Memory m;
        m.pieces[0] = std::move(bytes);
        BootInfo info;
        return parse_multiboot2(m, 0, info).has_value();
    };
    EXPECT_TRUE(parse(multiboot(kEndTag)));
    EXPECT_FALSE(parse(""));
    EXPECT_FALSE(parse(multiboot("")));                              // no end tag
    EXPECT_FALSE(parse(le(64, 4) + le(0, 4)));                       // longer than memory
    EXPECT_FALSE(parse(le(4, 4) + le(0, 4)));                        // shorter than its header
    EXPECT_FALSE(parse(multiboot(le(1, 4) + le(4, 4) + kEndTag)));   // tag shorter than its header
    EXPECT_FALSE(parse(multiboot(le(1, 4) + le(400, 4) + kEndTag))); // tag beyond the end
    EXPECT_FALSE(parse(multiboot(tag(1, "no zero!") + kEndTag)));    // unterminated
    EXPECT_FALSE(parse(multiboot(tag(3, "short") + kEndTag)));       // module
    EXPECT_FALSE(parse(multiboot(tag(3, le(9, 4) + le(8, 4) + std::string(1, 0)) + kEndTag)));
    EXPECT_FALSE(parse(multiboot(tag(6, le(0, 4) + le(0, 4)) + kEndTag))); // entries of no size
}

TEST(Multiboot2, SaysWhenItDroppedSomething) {
    Memory m;
    std::string tags;
    for (int i = 0; i < 20; i++)
        tags += tag(3, le(0, 4) + le(1, 4) + std::string("m\0", 2));
    m.pieces[0] = multiboot(tags + kEndTag);
    BootInfo info;
    ASSERT_TRUE(parse_multiboot2(m, 0, info).has_value());
    EXPECT_EQ(info.module_count, info.modules.size());
    EXPECT_TRUE(info.truncated);
}

TEST(Pvh, UnderstandsWhatQemuSends) {
    Memory m;
    m.pieces[0x1000] = le(0x336ec578, 4) + le(1, 4) + le(0, 4) + le(1, 4) + le(0x2000, 8) +
                       le(0x3000, 8) + le(0xf5a40, 8) + le(0x4000, 8) + le(1, 4) + le(0, 4);
    m.pieces[0x2000] = le(0x100000, 8) + le(77, 8) + le(0x3100, 8) + le(0, 8);
    m.pieces[0x3000] = std::string("role=storage\0", 13);
    m.pieces[0x3100] = std::string("file\0", 5);
    m.pieces[0x4000] = le(0x100000, 8) + le(0x1000000, 8) + le(1, 4) + le(0, 4);
    BootInfo info;
    ASSERT_TRUE(parse_pvh(m, 0x1000, info).has_value());
    EXPECT_EQ(info.command_line.view(), "role=storage");
    EXPECT_EQ(info.rsdp, 0xf5a40u);
    ASSERT_EQ(info.module_count, 1u);
    EXPECT_EQ(info.modules[0].name.view(), "file");
    EXPECT_EQ(info.modules[0].size, 77u);
    ASSERT_EQ(info.memory_count, 1u);

    m.pieces[0x1000][0] ^= 1; // magic
    EXPECT_EQ(parse_pvh(m, 0x1000, info).error(), Error::Malformed);
    EXPECT_EQ(parse_pvh(m, 0x9000, info).error(), Error::Malformed);
}

std::string with_sum(std::string s, size_t at) {
    uint8_t sum = 0;
    for (char c : s)
        sum = static_cast<uint8_t>(sum + static_cast<uint8_t>(c));
    s[at] = static_cast<char>(s[at] - sum);
    return s;
}
std::string table(const char* signature, std::string body) {
    return with_sum(std::string(signature) + le(36 + body.size(), 4) + std::string(28, 0) + body,
                    9);
}

struct AcpiMemory {
    Memory m;
    BootInfo boot;
    AcpiMemory() {
        m.pieces[0xe0000] =
            with_sum("RSD PTR " + le(0, 1) + "TESTER" + le(0, 1) + le(0x7000, 4), 8);
        boot.rsdp = 0xe0000;
        std::string madt =
            le(0xfee00000, 4) + le(1, 4) + le(0, 1) + le(8, 1) + le(0, 1) + le(0, 1) + le(1, 4) +
            le(0, 1) + le(8, 1) + le(1, 1) + le(2, 1) + le(1, 4) + le(0, 1) + le(8, 1) + le(2, 1) +
            le(4, 1) + le(0, 4) + // disabled
            le(1, 1) + le(12, 1) + le(3, 1) + le(0, 1) + le(0xfec00000, 4) + le(0, 4) + le(2, 1) +
            le(10, 1) + le(0, 1) + le(0, 1) + le(2, 4) + le(0xf, 2);
        std::string fadt(92, 0);
        fadt.replace(76 - 36, 4, le(0x608, 4));
        fadt.replace(64 - 36, 4, le(0x604, 4));
        fadt.replace(40 - 36, 4, le(0xb000, 4));
        m.pieces[0x7000] =
            table("RSDT", le(0x8000, 4) + le(0x9000, 4) + le(0xa000, 4) + le(0xdead0000, 4));
        m.pieces[0x8000] = table("APIC", madt);
        m.pieces[0x9000] = table("FACP", fadt);
        m.pieces[0xa000] = table(
            "MCFG", le(0, 8) + le(0xb0000000, 8) + le(0, 2) + le(0, 1) + le(255, 1) + le(0, 4));
        m.pieces[0xb000] =
            table("DSDT", std::string("junk_S5_junk\x08_S5_\x12\x06\x04\x0a\x05\x00\x00\x00", 25));
    }
};

TEST(Acpi, FindsProcessorsInterruptsAndPower) {
    AcpiMemory a;
    AcpiFacts f;
    ASSERT_TRUE(parse_acpi(a.m, a.boot, f).has_value());
    ASSERT_EQ(f.processor_count, 2u);
    EXPECT_EQ(f.apic_ids[1], 2u);
    ASSERT_EQ(f.io_apic_count, 1u);
    EXPECT_EQ(f.io_apics[0].address, 0xfec00000u);
    ASSERT_EQ(f.override_count, 1u);
    EXPECT_EQ(f.overrides[0].global_interrupt, 2u);
    EXPECT_TRUE(f.overrides[0].active_low && f.overrides[0].level);
    ASSERT_EQ(f.pci_count, 1u);
    EXPECT_EQ(f.pci[0].last_bus, 255);
    EXPECT_EQ(f.pm_timer_port, 0x608);
    EXPECT_TRUE(f.soft_off_known);
    EXPECT_EQ(f.soft_off_a, 5);
    EXPECT_EQ(f.soft_off_b, 0);
}

TEST(Acpi, IgnoresWhatDoesNotCheck) {
    AcpiMemory a;
    a.m.pieces[0x8000][50] ^= 1;
    AcpiFacts f;
    ASSERT_TRUE(parse_acpi(a.m, a.boot, f).has_value());
    EXPECT_EQ(f.processor_count, 0u);
    EXPECT_EQ(f.pm_timer_port, 0x608);

    a.m.pieces[0x7000][40] ^= 1;
    EXPECT_EQ(parse_acpi(a.m, a.boot, f).error(), Error::Malformed);
    a.boot.rsdp = 0;
    EXPECT_EQ(parse_acpi(a.m, a.boot, f).error(), Error::NotFound);
}

} // namespace
} // namespace tessera::boot
