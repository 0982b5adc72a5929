#include "kernel/node/settings.hpp"

namespace tessera::node {
namespace {

Result<uint64_t> parse_number(std::string_view text) {
    if (text.empty() || text.size() > 19) return std::unexpected(Error::Malformed);
    uint64_t v = 0;
    for (char c : text) {
        if (c < '0' || c > '9') return std::unexpected(Error::Malformed);
        v = v * 10 + static_cast<uint64_t>(c - '0');
    }
    return v;
}

Result<rpc::ClusterKey> parse_key(std::string_view text) {
    rpc::ClusterKey key{};
    if (text.size() != 2 * key.size()) return std::unexpected(Error::Malformed);
    auto nibble = [](char c) -> int {
        if (c >= '0' && c <= '9') return c - '0';
        if (c >= 'a' && c <= 'f') return c - 'a' + 10;
        if (c >= 'A' && c <= 'F') return c - 'A' + 10;
        return -1;
    };
    for (size_t i = 0; i < key.size(); i++) {
        int high = nibble(text[2 * i]), low = nibble(text[2 * i + 1]);
        if (high < 0 || low < 0) return std::unexpected(Error::Malformed);
        key[i] = static_cast<std::byte>(high << 4 | low);
    }
    return key;
}

Result<rpc::NodeKind> parse_role(std::string_view text) {
    if (text == "pcomponent") return rpc::NodeKind::Process;
    if (text == "mcomponent") return rpc::NodeKind::Memory;
    if (text == "scomponent") return rpc::NodeKind::Storage;
    return std::unexpected(Error::Malformed);
}

Result<void> set(std::string_view name, std::string_view value, Settings& s,
                 const char*& expected) {
    auto address = [&](roce::Ipv4& into) -> Result<void> {
        expected = "an IPv4 address such as 10.77.1.1";
        into = TRY(parse_ipv4(value));
        return {};
    };
    if (name == "role") {
        expected = "pcomponent, mcomponent or scomponent";
        s.role = TRY(parse_role(value));
    } else if (name == "name") {
        s.name = value;
    } else if (name == "ip") {
        return address(s.address);
    } else if (name == "gpm") {
        return address(s.gpm);
    } else if (name == "gmm") {
        return address(s.gmm);
    } else if (name == "gsm") {
        return address(s.gsm);
    } else if (name == "key") {
        expected = "64 hexadecimal digits";
        s.key = TRY(parse_key(value));
        s.has_key = true;
    } else if (name == "failure_domain") {
        s.failure_domain = value;
    } else if (name == "excache") {
        expected = "a number of bytes";
        s.excache_bytes = TRY(parse_number(value));
    }
    return {};
}

} // namespace

Result<roce::Ipv4> parse_ipv4(std::string_view text) {
    uint32_t address = 0;
    for (int part = 0; part < 4; part++) {
        size_t dot = part < 3 ? text.find('.') : text.size();
        if (dot == std::string_view::npos || dot > 3) return std::unexpected(Error::Malformed);
        uint64_t v = TRY(parse_number(text.substr(0, dot)));
        if (v > 255) return std::unexpected(Error::Malformed);
        address = address << 8 | static_cast<uint32_t>(v);
        text.remove_prefix(dot + (part < 3 ? 1 : 0));
    }
    return roce::Ipv4(address);
}

Result<void> parse_settings(std::string_view text, Settings& into, std::string& problem) {
    int number = 0;
    while (!text.empty()) {
        size_t end = text.find('\n');
        std::string_view line = text.substr(0, end);
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
        number++;
        while (!line.empty() && (line.back() == '\r' || line.back() == ' '))
            line.remove_suffix(1);
        if (line.empty() || line[0] == '#') continue;
        size_t equals = line.find('=');
        const char* expected = "name=value";
        Result<void> r = std::unexpected(Error::Malformed);
        if (equals != std::string_view::npos)
            r = set(line.substr(0, equals), line.substr(equals + 1), into, expected);
        if (!r) {
            problem = "line " + std::to_string(number) + " (" +
                      std::string(line.substr(0, equals)) + "): expected " + expected;
            return r;
        }
    }
    return {};
}

Result<void> check_settings(const Settings& s, std::string& problem) {
    auto missing = [&](const char* what) -> Result<void> {
        problem = std::string("the settings lack ") + what;
        return std::unexpected(Error::NotFound);
    };
    if (s.role == rpc::NodeKind::None) return missing("role=");
    if (!s.address) return missing("ip=");
    if (!s.has_key) return missing("key=");
    if (!s.gpm) return missing("gpm=");
    if (s.role == rpc::NodeKind::Memory && !s.gmm) return missing("gmm=");
    if (s.role == rpc::NodeKind::Storage && !s.gsm) return missing("gsm=");
    return {};
}

} // namespace tessera::node
