// tessera-store: builds, lists, reads and checks store images on the host.
#include <getopt.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/log.hpp"
#include "tools/store/commands.hpp"

namespace {

using namespace tessera;
using namespace tessera::storage::tool;

constexpr const char* kUsage =
    "Usage: tessera-store build OUT --size SIZE [--from-dir DIR | --from-tar FILE] [--vnode N] "
    "[--template] [--force]\n"
    "       tessera-store ls [-l] [--vnode N] IMAGE [PATH]\n"
    "       tessera-store cat [--vnode N] IMAGE PATH\n"
    "       tessera-store check [--no-data] IMAGE\n"
    "\n"
    "build   makes a (sparse) image of SIZE (64M, 1G, ...) whose root for vNode N (default 1) "
    "holds the\n"
    "        files of DIR or of an uncompressed tar (- is standard input), with owners, modes and "
    "times\n"
    "        --template: and once more as what the roots of new vNodes are copies of\n"
    "ls      lists a directory; -l with attributes\n"
    "cat     prints a file\n"
    "check   verifies the metadata and every block of data against its checksum; 0 if clean\n";

int wrong(const char* text, const char* detail = "") {
    std::fprintf(stderr, "tessera-store: %s%s\nTry: tessera-store --help\n", text, detail);
    return 2;
}

bool parse_size(const char* text, uint64_t& bytes) {
    char* end;
    bytes = std::strtoull(text, &end, 10);
    unsigned shift = 0;
    switch (*end) {
        case 'T':
            shift += 10;
            [[fallthrough]];
        case 'G':
            shift += 10;
            [[fallthrough]];
        case 'M':
            shift += 10;
            [[fallthrough]];
        case 'K':
            shift += 10;
            end++;
    }
    if (end == text || *end || *text == '-' || bytes > (UINT64_MAX >> shift)) return false;
    bytes <<= shift;
    return bytes > 0;
}

} // namespace

int main(int argc, char** argv) {
    log_to_stderr("tessera-store");
    if (argc < 2) return wrong("no command");
    std::string command = argv[1];
    if (command == "--help" || command == "-h" || command == "help") {
        std::fputs(kUsage, stdout);
        return 0;
    }
    enum { Size = 256, FromDir, FromTar, Vnode, Template, Force, NoData, Help };
    const option options[] = {{"size", required_argument, nullptr, Size},
                              {"from-dir", required_argument, nullptr, FromDir},
                              {"from-tar", required_argument, nullptr, FromTar},
                              {"vnode", required_argument, nullptr, Vnode},
                              {"template", no_argument, nullptr, Template},
                              {"force", no_argument, nullptr, Force},
                              {"no-data", no_argument, nullptr, NoData},
                              {"help", no_argument, nullptr, Help},
                              {}};
    BuildOptions b;
    bool details = false, data = true;
    for (int c; (c = getopt_long(argc - 1, argv + 1, "l", options, nullptr)) != -1;) {
        switch (c) {
            case 'l':
                details = true;
                break;
            case Size:
                if (!parse_size(optarg, b.bytes))
                    return wrong("--size wants a number such as 64M or 1G, not ", optarg);
                break;
            case FromDir:
                b.directory = optarg;
                break;
            case FromTar:
                b.tar = optarg;
                break;
            case Vnode:
                b.vnode = VnodeId(static_cast<uint32_t>(std::strtoul(optarg, nullptr, 10)));
                if (!b.vnode) return wrong("--vnode wants a number from 1 on, not ", optarg);
                break;
            case Template:
                b.also_template = true;
                break;
            case Force:
                b.replace = true;
                break;
            case NoData:
                data = false;
                break;
            case Help:
                std::fputs(kUsage, stdout);
                return 0;
            default:
                return wrong("unknown option");
        }
    }
    char** rest = argv + 1 + optind;
    int count = argc - 1 - optind;
    if (command == "build") {
        if (count != 1) return wrong("build wants one OUT file");
        if (b.bytes == 0) return wrong("build wants --size");
        if (!b.directory.empty() && !b.tar.empty())
            return wrong("--from-dir and --from-tar exclude each other");
        if (b.also_template && b.tar == "-")
            return wrong("--template reads the tar twice, so it cannot be standard input");
        b.output = rest[0];
        return build(b);
    }
    if (command == "ls") {
        if (count < 1 || count > 2) return wrong("ls wants IMAGE and at most one PATH");
        return list(rest[0], count == 2 ? rest[1] : "/", b.vnode, details);
    }
    if (command == "cat") {
        if (count != 2) return wrong("cat wants IMAGE and PATH");
        return print(rest[0], rest[1], b.vnode);
    }
    if (command == "check") {
        if (count != 1) return wrong("check wants one IMAGE");
        return check(rest[0], data);
    }
    return wrong("unknown command: ", command.c_str());
}
