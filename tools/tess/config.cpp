#include "tools/tess/config.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <initializer_list>
#include <set>
#include <sstream>

#include "generated/default_toml.hpp"
#include "tools/fabric/control.hpp"
#include "tools/fabric/impairment.hpp"

// toml++ 3.3 asserts that a key follows "[[", and then goes on to refuse what is none: only the
// assertion is wrong for text from outside. Without NDEBUG its assumptions are assertions too.
#define TOML_ASSERT(condition) static_cast<void>(0)
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

namespace tessera::tess {
namespace {

// Collects the first problem; later ones are usually its consequences.
class Reader {
  public:
    explicit Reader(const std::string& file) : file_(file) {}

    void problem(const toml::node& at, const std::string& what) {
        if (problem_.empty())
            problem_ = file_ + ":" + std::to_string(at.source().begin.line) + ": " + what;
    }
    const std::string& problem() const { return problem_; }

    void only(const toml::table& table, const std::string& what,
              std::initializer_list<std::string_view> keys) {
        for (auto&& [key, value] : table) {
            if (std::find(keys.begin(), keys.end(), key.str()) != keys.end()) continue;
            std::string known;
            for (std::string_view k : keys)
                known += (known.empty() ? "" : ", ") + std::string(k);
            problem(value, "unknown key '" + std::string(key.str()) + "' in " + what +
                               "; expected one of " + known);
        }
    }

    void text(const toml::table& t, std::string_view key, std::string& into) {
        const toml::node* n = t.get(key);
        if (!n) return;
        if (auto v = n->value_exact<std::string>())
            into = *v;
        else
            problem(*n, "'" + std::string(key) + "' must be a text in quotes");
    }
    void name(const toml::table& t, std::string& into, const std::string& what) {
        text(t, "name", into);
        const toml::node* n = t.get("name");
        if (!n) return problem(t, what + " needs a name, such as name = \"p1\"");
        if (into.empty() || into.size() > 20 || !(into[0] >= 'a' && into[0] <= 'z') ||
            into.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") != std::string::npos)
            problem(*n, "name '" + into + "': expected a letter, then at most 19 of a-z 0-9 -");
    }
    template <typename T>
    void number(const toml::table& t, std::string_view key, T& into, int64_t low, int64_t high) {
        const toml::node* n = t.get(key);
        if (!n) return;
        auto v = n->value_exact<int64_t>();
        if (!v || *v < low || *v > high)
            return problem(*n, "'" + std::string(key) + "' must be a whole number from " +
                                   std::to_string(low) + " to " + std::to_string(high));
        into = static_cast<T>(*v);
    }
    void size(const toml::table& t, std::string_view key, uint64_t& into, uint64_t low,
              uint64_t high) {
        const toml::node* n = t.get(key);
        if (!n) return;
        auto v = n->value_exact<std::string>();
        auto bytes = v ? parse_size(*v) : Outcome<uint64_t>(Trouble(""));
        if (!bytes || *bytes < low || *bytes > high)
            return problem(*n, "'" + std::string(key) + "' must be a size in quotes from " +
                                   size_text(low) + " to " + size_text(high) + ", such as \"64M\"");
        into = *bytes;
    }
    // Index of the word, or `otherwise` when the key is not there.
    int choice(const toml::table& t, std::string_view key,
               std::initializer_list<std::string_view> words, int otherwise) {
        const toml::node* n = t.get(key);
        if (!n) return otherwise;
        std::string v = n->value_exact<std::string>().value_or(""), all;
        int i = 0;
        for (std::string_view w : words) {
            if (v == w) return i;
            all += (i++ ? ", " : "") + ("\"" + std::string(w) + "\"");
        }
        problem(*n, "'" + std::string(key) + "' must be one of " + all);
        return otherwise;
    }
    // The tables of [[key]].
    std::vector<const toml::table*> tables(const toml::table& t, std::string_view key) {
        std::vector<const toml::table*> all;
        const toml::node* n = t.get(key);
        if (!n) return all;
        const toml::array* a = n->as_array();
        if (!a) {
            problem(*n, "write [[" + std::string(key) + "]], once for each");
            return all;
        }
        for (auto&& e : *a) {
            if (const toml::table* table = e.as_table())
                all.push_back(table);
            else
                problem(e, "write [[" + std::string(key) + "]], once for each");
        }
        return all;
    }
    const toml::table* table(const toml::table& t, std::string_view key) {
        const toml::node* n = t.get(key);
        if (n && !n->as_table())
            problem(*n, "'" + std::string(key) + "' must be a table: [" + std::string(key) + "]");
        return n ? n->as_table() : nullptr;
    }

  private:
    std::string file_;
    std::string problem_;
};

void read_cluster(Reader& r, const toml::table& t, ClusterConfig& c) {
    r.only(t, "[cluster]", {"network", "accelerator", "join_timeout"});
    c.accelerator = static_cast<Accelerator>(r.choice(t, "accelerator", {"auto", "kvm", "tcg"}, 0));
    r.number(t, "join_timeout", c.join_timeout, 1, 3600);
    std::string network;
    r.text(t, "network", network);
    if (network.empty()) return;
    auto address = network.ends_with("/16")
                       ? fabric::parse_ipv4(network.substr(0, network.size() - 3))
                       : Result<uint32_t>(Fail(Error::InvalidArgument));
    if (!address || (*address & 0xffff) != 0 || *address == 0)
        r.problem(*t.get("network"),
                  "'network' must be an address and /16, such as \"10.77.0.0/16\"");
    else
        c.network = *address;
}

void read_component(Reader& r, const toml::table& t, ClusterConfig& c) {
    ComponentConfig one;
    r.name(t, one.name, "a [[component]]");
    if (!t.get("kind"))
        r.problem(
            t, "component '" + one.name + "' needs kind = \"process\", \"memory\" or \"storage\"");
    one.kind = static_cast<Kind>(r.choice(t, "kind", {"process", "memory", "storage"}, 0));
    switch (one.kind) {
        case Kind::Process:
            r.only(t, "a process component",
                   {"name", "kind", "cpus", "memory", "excache", "failure_domain", "firmware"});
            break;
        case Kind::Memory:
            r.only(t, "a memory component",
                   {"name", "kind", "cpus", "memory", "failure_domain", "firmware"});
            break;
        case Kind::Storage:
            r.only(t, "a storage component",
                   {"name", "kind", "cpus", "memory", "disk", "disk_cache", "failure_domain",
                    "firmware"});
            break;
    }
    r.number(t, "cpus", one.cpus, 1, 64);
    r.size(t, "memory", one.memory, 64ull << 20, 1ull << 40);
    r.size(t, "excache", one.excache, 1ull << 20, 1ull << 40);
    if (one.excache > one.memory / 4 * 3 && one.kind == Kind::Process)
        r.problem(t, "component '" + one.name + "': excache (" + size_text(one.excache) +
                         ") must leave a quarter of its memory (" + size_text(one.memory) +
                         ") to the kernel");
    r.size(t, "disk", one.disk, 16ull << 20, 1ull << 44);
    one.disk_writeback = r.choice(t, "disk_cache", {"unsafe", "writeback"}, 0) == 1;
    one.uefi = r.choice(t, "firmware", {"bios", "uefi"}, 0) == 1;
    one.failure_domain = one.name;
    r.text(t, "failure_domain", one.failure_domain);
    if (one.failure_domain.empty() || one.failure_domain.size() > 31 ||
        one.failure_domain.find_first_of(" \t\n=") != std::string::npos)
        r.problem(t, "'failure_domain' must be one word of at most 31 characters");
    if (std::set<std::string_view>{"gpm", "gmm", "gsm", "fabric", "all"}.contains(one.name))
        r.problem(t, "name '" + one.name + "' is taken by the host's own services");
    if (std::any_of(c.components.begin(), c.components.end(),
                    [&](auto& o) { return o.name == one.name; }))
        r.problem(t, "a second component called '" + one.name + "'");
    c.components.push_back(std::move(one));
}

void read_fabric(Reader& r, const toml::table& t, ClusterConfig& c) {
    r.only(t, "[fabric]", {"seed", "halt_poll", "link"});
    r.number(t, "seed", c.fabric_seed, 0, INT64_MAX);
    c.halt_poll = static_cast<HaltPolling>(r.choice(t, "halt_poll", {"auto", "on", "off"}, 0));
    for (const toml::table* link : r.tables(t, "link")) {
        r.only(*link, "a [[fabric.link]]", {"port", "impairment"});
        LinkConfig one;
        r.text(*link, "port", one.port);
        r.text(*link, "impairment", one.impairment);
        bool known = one.port == "all" || one.port == "gpm" || one.port == "gmm" ||
                     one.port == "gsm" ||
                     std::any_of(c.components.begin(), c.components.end(),
                                 [&](auto& o) { return o.name == one.port; });
        if (!known)
            r.problem(*link, "port '" + one.port + "' is no component, gpm, gmm, gsm or all");
        std::istringstream words(one.impairment);
        fabric::Impairment scratch;
        for (std::string w; words >> w;)
            if (w != "in" && w != "out" && !fabric::assign(scratch, w))
                r.problem(*link, "'" + w + "': expected loss=5%, delay=10ms and the like");
        c.links.push_back(std::move(one));
    }
}

// toml++ 3.3 asserts on some control characters ("[[" and a carriage return) instead of refusing
// them; TOML allows none but tab and line ends.
Outcome<std::string> plain_text(std::string_view text, const std::string& file) {
    std::string plain;
    unsigned line = 1;
    bool comment = false;
    char quote = 0; // the open one, if any; none spans lines in what we accept
    for (size_t i = 0; i < text.size(); i++) {
        auto c = static_cast<unsigned char>(text[i]);
        if (c == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
        if ((c < 32 && c != '\n' && c != '\t') || c == 127)
            return Trouble(file + ":" + std::to_string(line) +
                           ": a control character; expected plain text");
        // Nothing that we read needs more than ASCII, and toml++ 3.3 trips over some letters in
        // keys.
        if (c >= 128 && !comment)
            return Trouble(file + ":" + std::to_string(line) +
                           ": a letter outside ASCII; expected those in comments only");
        if (c == '\n')
            line++, comment = false, quote = 0;
        else if (!comment && quote != 0 && text[i] == quote)
            quote = 0;
        else if (!comment && quote == 0 && (c == '"' || c == '\''))
            quote = text[i];
        else if (quote == 0 && c == '#')
            comment = true;
        plain += c >= 128 ? '?' : text[i];
    }
    return plain;
}

} // namespace

Outcome<ClusterConfig> parse_config(std::string_view text, const std::string& file) {
    auto plain = plain_text(text, file);
    if (!plain) return Trouble(plain.error());
    toml::parse_result parsed = toml::parse(std::string_view(*plain), file);
    if (!parsed)
        return Trouble(file + ":" + std::to_string(parsed.error().source().begin.line) + ": " +
                       std::string(parsed.error().description()));
    const toml::table& root = parsed.table();
    Reader r(file);
    ClusterConfig c;
    r.only(root, "the file", {"cluster", "component", "vnode", "fabric"});
    if (const toml::table* t = r.table(root, "cluster")) read_cluster(r, *t, c);
    for (const toml::table* t : r.tables(root, "component"))
        read_component(r, *t, c);
    for (const toml::table* t : r.tables(root, "vnode")) {
        r.only(*t, "a [[vnode]]", {"name", "memory"});
        VnodeConfig one;
        r.name(*t, one.name, "a [[vnode]]");
        r.size(*t, "memory", one.memory, 1ull << 20, 1ull << 44);
        if (std::any_of(c.vnodes.begin(), c.vnodes.end(),
                        [&](auto& o) { return o.name == one.name; }))
            r.problem(*t, "a second vNode called '" + one.name + "'");
        c.vnodes.push_back(std::move(one));
    }
    if (const toml::table* t = r.table(root, "fabric")) read_fabric(r, *t, c);
    if (!r.problem().empty()) return Trouble(r.problem());

    for (Kind kind : {Kind::Process, Kind::Memory, Kind::Storage})
        if (std::none_of(c.components.begin(), c.components.end(),
                         [&](auto& o) { return o.kind == kind; }))
            return Trouble(file + ": a cluster needs at least one component with kind = \"" +
                           std::string(kind_word(kind)) + "\"");
    if (c.components.size() > 128) return Trouble(file + ": more than 128 components");
    if (c.vnodes.empty()) c.vnodes.push_back({"main"});
    return c;
}

Outcome<ClusterConfig> load_config(const std::string& path) {
    std::ifstream file(path);
    if (!file)
        return Trouble("cannot read " + path +
                       "; `tess up` without --config boots the default cluster");
    std::stringstream text;
    text << file.rdbuf();
    return parse_config(text.str(), path);
}

std::string_view default_config_text() {
    return kDefaultToml;
}

Outcome<uint64_t> parse_size(std::string_view text) {
    uint64_t v = 0;
    auto [end, e] = std::from_chars(text.data(), text.data() + text.size(), v);
    std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
    int shift = unit == ""    ? 0
                : unit == "K" ? 10
                : unit == "M" ? 20
                : unit == "G" ? 30
                : unit == "T" ? 40
                              : -1;
    if (e != std::errc() || shift < 0 || v > (1ull << 50) >> shift)
        return Trouble("'" + std::string(text) +
                       "' is no size; expected a number with K, M, G or T, such as 16M");
    return v << shift;
}

std::string size_text(uint64_t bytes) {
    static constexpr const char* units[] = {"", "K", "M", "G", "T"};
    int u = 0;
    while (u < 4 && bytes >= 1024 && bytes % 1024 == 0) {
        bytes /= 1024;
        u++;
    }
    return std::to_string(bytes) + units[u];
}

std::string_view kind_word(Kind kind) {
    return kind == Kind::Process ? "process" : kind == Kind::Memory ? "memory" : "storage";
}
std::string_view role_word(Kind kind) {
    return kind == Kind::Process  ? "pcomponent"
           : kind == Kind::Memory ? "mcomponent"
                                  : "scomponent";
}

} // namespace tessera::tess
