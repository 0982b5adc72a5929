#include "boot/boot_info.hpp"

namespace tessera::boot {

MemoryKind memory_kind(uint32_t e820_type) {
    switch (e820_type) {
        case 1:
            return MemoryKind::Usable;
        case 3:
            return MemoryKind::AcpiReclaimable;
        case 4:
            return MemoryKind::AcpiNvs;
        case 5:
            return MemoryKind::Bad;
        default:
            return MemoryKind::Reserved;
    }
}

bool BootInfo::add_memory(const MemoryRange& range) {
    if (memory_count == memory.size()) {
        truncated = true;
        return false;
    }
    memory[memory_count++] = range;
    return true;
}

Module* BootInfo::add_module() {
    if (module_count == modules.size()) {
        truncated = true;
        return nullptr;
    }
    return &modules[module_count++];
}

std::string_view command_line_option(std::string_view line, std::string_view key) {
    std::string_view found;
    while (!line.empty()) {
        size_t start = line.find_first_not_of(' ');
        if (start == line.npos) break;
        line.remove_prefix(start);
        size_t end = line.find(' ');
        std::string_view word = line.substr(0, end);
        line.remove_prefix(word.size());
        if (word == key) {
            found = word;
        } else if (word.size() > key.size() && word.starts_with(key) && word[key.size()] == '=') {
            found = word.substr(key.size() + 1);
        }
    }
    return found;
}

} // namespace tessera::boot
