#include "boot/boot_info.hpp"

namespace tessera::boot {

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
