#include "monitors/process/posix/exec/stack.hpp"

namespace tessera::posix {

Result<UserAddress> build_stack(AddressSpace& space, const StackImage& s, size_t most) {
    // Strings grow down from the top in one buffer; `where` remembers offsets from its start.
    std::string text;
    auto put = [&](std::string_view v) {
        size_t at = text.size();
        text.append(v);
        text.push_back('\0');
        return at;
    };
    std::vector<size_t> arguments, environment;
    for (const std::string& a : *s.arguments)
        arguments.push_back(put(a));
    for (const std::string& e : *s.environment)
        environment.push_back(put(e));
    size_t program = put(s.program);
    size_t platform = put("x86_64");
    while (text.size() % 16)
        text.push_back('\0');
    size_t random = text.size();
    text.append(reinterpret_cast<const char*>(s.random.data()), s.random.size());
    text.append(16, '\0'); // the top word is zero, as on Linux

    UserAddress base = s.top - text.size();
    std::vector<uint64_t> words;
    words.push_back(arguments.size());
    for (size_t a : arguments)
        words.push_back(base + a);
    words.push_back(0);
    for (size_t e : environment)
        words.push_back(base + e);
    words.push_back(0);
    for (auto& [key, value] : s.auxiliary) {
        words.push_back(key);
        words.push_back(value);
    }
    for (auto [key, value] : {std::pair<uint64_t, uint64_t>{kAuxRandom, base + random},
                              {kAuxExecFn, base + program},
                              {kAuxPlatform, base + platform},
                              {0, 0}}) {
        words.push_back(key);
        words.push_back(value);
    }
    size_t bytes = words.size() * 8 + text.size();
    if (bytes > most) return Fail(Error::TooBig);
    UserAddress pointer = align_down(base - words.size() * 8, 16);
    TRY(space.write(base, bytes_of(std::string_view(text))));
    TRY(space.write(pointer, std::as_bytes(std::span(words))));
    return pointer;
}

} // namespace tessera::posix
