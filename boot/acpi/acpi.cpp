#include "boot/acpi/acpi.hpp"

#include <cstddef>

#include "base/endian.hpp"
#include "base/units.hpp"

namespace tessera::boot {
namespace {

struct Rsdp {
    char signature[8];
    uint8_t checksum;
    char oem[6];
    uint8_t revision;
    Le32 rsdt;
    Le32 length; // from here on: revision 2
    Le64 xsdt;
    uint8_t extended_checksum;
    uint8_t reserved[3];
};
static_assert(sizeof(Rsdp) == 36 && offsetof(Rsdp, xsdt) == 24);
constexpr size_t kOldRsdpSize = 20;

struct TableHeader {
    char signature[4];
    Le32 length;
    uint8_t revision, checksum;
    char oem[6], oem_table[8];
    Le32 oem_revision, creator, creator_revision;
};
static_assert(sizeof(TableHeader) == 36);

struct Madt {
    TableHeader header;
    Le32 local_apic;
    Le32 flags;
};
static_assert(sizeof(Madt) == 44);

struct McfgEntry {
    Le64 base;
    Le16 segment;
    uint8_t first_bus, last_bus;
    Le32 reserved;
};
static_assert(sizeof(McfgEntry) == 16);

uint8_t sum(Bytes b) {
    uint8_t s = 0;
    for (std::byte x : b)
        s = static_cast<uint8_t>(s + static_cast<uint8_t>(x));
    return s;
}

template <typename T>
T field(Bytes b, size_t offset) {
    return offset + sizeof(T) <= b.size() ? load<T>(b.subspan(offset)) : T{};
}
uint8_t byte_at(Bytes b, size_t offset) {
    return offset < b.size() ? static_cast<uint8_t>(b[offset]) : 0;
}

// The whole table at `address`, checksum verified; empty if there is none.
Bytes table_at(const PhysicalMemory& memory, uint64_t address) {
    Bytes head = memory.at(address, sizeof(TableHeader));
    if (head.empty()) return {};
    uint32_t length = load<TableHeader>(head).length;
    if (length < sizeof(TableHeader) || length > mib(4)) return {};
    Bytes table = memory.at(address, length);
    if (table.size() != length || sum(table) != 0) return {};
    return table;
}

std::string_view signature(Bytes table) {
    return text_of(table).substr(0, 4);
}

void add_processor(uint32_t apic_id, uint32_t flags, AcpiFacts& out) {
    if ((flags & 1) && out.processor_count < out.apic_ids.size())
        out.apic_ids[out.processor_count++] = apic_id;
}

// ACPI 5.2.12, table 5.20 and those it refers to.
void read_madt(Bytes table, AcpiFacts& out) {
    if (table.size() < sizeof(Madt)) return;
    out.local_apic = load<Madt>(table).local_apic;
    Bytes rest = table.subspan(sizeof(Madt));
    while (rest.size() >= 2) {
        uint8_t type = byte_at(rest, 0), length = byte_at(rest, 1);
        if (length < 2 || length > rest.size()) return;
        Bytes e = rest.first(length);
        if (type == 0 && length >= 8) {
            add_processor(byte_at(e, 3), field<Le32>(e, 4), out);
        } else if (type == 9 && length >= 16) {
            add_processor(field<Le32>(e, 4), field<Le32>(e, 8), out);
        } else if (type == 1 && length >= 12 && out.io_apic_count < out.io_apics.size()) {
            out.io_apics[out.io_apic_count++] = {byte_at(e, 2), field<Le32>(e, 4),
                                                 field<Le32>(e, 8)};
        } else if (type == 2 && length >= 10 && out.override_count < out.overrides.size()) {
            uint16_t flags = field<Le16>(e, 8);
            out.overrides[out.override_count++] = {byte_at(e, 3), field<Le32>(e, 4),
                                                   (flags & 3) == 3, (flags >> 2 & 3) == 3};
        } else if (type == 5 && length >= 12) {
            out.local_apic = field<Le64>(e, 4);
        }
        rest = rest.subspan(length);
    }
}

void read_mcfg(Bytes table, AcpiFacts& out) {
    if (table.size() < 44) return;
    for (Bytes rest = table.subspan(44); rest.size() >= sizeof(McfgEntry);
         rest = rest.subspan(sizeof(McfgEntry))) {
        auto e = load<McfgEntry>(rest);
        if (out.pci_count == out.pci.size()) return;
        out.pci[out.pci_count++] = {e.base, e.segment, e.first_bus, e.last_bus};
    }
}

// One element of an AML package: Zero, One, or a byte constant.
bool read_aml_byte(Bytes code, size_t& at, uint8_t& value) {
    uint8_t op = byte_at(code, at);
    if (op == 0x00 || op == 0x01) {
        value = op;
        at += 1;
        return true;
    }
    if (op != 0x0a || at + 1 >= code.size()) return false;
    value = byte_at(code, at + 1);
    at += 2;
    return true;
}

// Name(\_S5_, Package(..){a, b, ...}) is the one thing needed of AML (ACPI 7.4.2, 20.2.5.4): find
// it as bytes rather than interpret the DSDT.
void read_soft_off(Bytes dsdt, AcpiFacts& out) {
    std::string_view text = text_of(dsdt);
    for (size_t at = text.find("_S5_"); at != text.npos; at = text.find("_S5_", at + 1)) {
        size_t p = at + 4;
        if (byte_at(dsdt, p) != 0x12) continue; // PackageOp
        p++;
        p += 1 + (byte_at(dsdt, p) >> 6); // package length
        p++;                              // element count
        uint8_t a = 0, b = 0;
        if (!read_aml_byte(dsdt, p, a) || !read_aml_byte(dsdt, p, b)) continue;
        out.soft_off_known = true;
        out.soft_off_a = a;
        out.soft_off_b = b;
        return;
    }
}

// ACPI 5.2.9, table 5.9.
void read_fadt(const PhysicalMemory& memory, Bytes table, AcpiFacts& out) {
    out.pm1a_control_port = static_cast<uint16_t>(field<Le32>(table, 64).get());
    out.pm1b_control_port = static_cast<uint16_t>(field<Le32>(table, 68).get());
    out.pm_timer_port = static_cast<uint16_t>(field<Le32>(table, 76).get());
    uint32_t flags = field<Le32>(table, 112);
    if (flags & 1u << 10) { // RESET_REG_SUP
        out.reset_space = byte_at(table, 116);
        out.reset_address = field<Le64>(table, 120);
        out.reset_value = byte_at(table, 128);
    }
    uint64_t dsdt = field<Le64>(table, 140);
    if (!dsdt) dsdt = field<Le32>(table, 40).get();
    read_soft_off(table_at(memory, dsdt), out);
}

Result<Rsdp> find_rsdp(const PhysicalMemory& memory, const BootInfo& boot) {
    Rsdp r{};
    Bytes raw;
    if (boot.rsdp_copy_size >= kOldRsdpSize) {
        raw = Bytes(boot.rsdp_copy).first(boot.rsdp_copy_size);
    } else if (boot.rsdp) {
        raw = memory.at(boot.rsdp, sizeof(Rsdp));
        if (raw.empty()) raw = memory.at(boot.rsdp, kOldRsdpSize);
    }
    if (raw.size() < kOldRsdpSize) return Fail(Error::NotFound);
    if (!text_of(raw).starts_with("RSD PTR ") || sum(raw.first(kOldRsdpSize)) != 0)
        return Fail(Error::Malformed);
    std::memcpy(&r, raw.data(), std::min(raw.size(), sizeof r));
    if (r.revision < 2 || raw.size() < sizeof r) r.xsdt = 0;
    return r;
}

} // namespace

Result<void> parse_acpi(const PhysicalMemory& memory, const BootInfo& boot, AcpiFacts& out) {
    Rsdp rsdp = TRY(find_rsdp(memory, boot));
    size_t width = rsdp.xsdt ? 8 : 4;
    Bytes root = table_at(memory, rsdp.xsdt ? rsdp.xsdt.get() : rsdp.rsdt.get());
    if (root.empty()) return Fail(Error::Malformed);
    for (size_t at = sizeof(TableHeader); at + width <= root.size(); at += width) {
        uint64_t address = width == 8 ? field<Le64>(root, at).get() : field<Le32>(root, at).get();
        Bytes table = table_at(memory, address);
        if (signature(table) == "APIC") read_madt(table, out);
        if (signature(table) == "MCFG") read_mcfg(table, out);
        if (signature(table) == "FACP") read_fadt(memory, table, out);
    }
    return {};
}

} // namespace tessera::boot
