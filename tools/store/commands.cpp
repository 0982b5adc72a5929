#include "tools/store/commands.hpp"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <vector>

namespace tessera::storage::tool {
namespace {

int complain(const std::string& what, Error e) {
    std::fprintf(stderr, "tessera-store: %s: %s\n", what.c_str(), describe(e).data());
    return 1;
}

char letter(FileType t) {
    return "?-dlcbps"[static_cast<size_t>(t)];
}

void print_details(Image& image, const Attributes& a, std::string_view name) {
    char mode[11] = {letter(a.type)};
    for (int i = 0; i < 9; i++)
        mode[1 + i] = (a.mode >> (8 - i)) & 1 ? "rwx"[i % 3] : '-';
    if (a.mode & 04000) mode[3] = a.mode & 0100 ? 's' : 'S';
    if (a.mode & 02000) mode[6] = a.mode & 0010 ? 's' : 'S';
    if (a.mode & 01000) mode[9] = a.mode & 0001 ? 't' : 'T';
    time_t seconds = static_cast<time_t>(a.mtime / 1'000'000'000);
    tm when;
    gmtime_r(&seconds, &when);
    char date[32];
    strftime(date, sizeof date, "%Y-%m-%d %H:%M", &when);
    std::printf("%s %3u %5u %5u %10llu %s %.*s", mode, a.nlink, a.uid, a.gid,
                static_cast<unsigned long long>(a.size), date, static_cast<int>(name.size()),
                name.data());
    if (a.type == FileType::Symlink) {
        Result<std::string> target = image.readlink(a.object);
        std::printf(" -> %s", target ? target->c_str() : "?");
    }
    std::printf("\n");
}

bool fill(Image& image, const BuildOptions& o, VnodeId vnode) {
    Result<Attributes> root = image.create_root(vnode);
    if (!root) return complain("creating the root", root.error()), false;
    if (!o.directory.empty() && !fill_from_directory(image, root->object, o.directory))
        return false;
    return o.tar.empty() || fill_from_tar(image, vnode, root->object, o.tar);
}

} // namespace

int build(const BuildOptions& o) {
    if (o.bytes / kPageSize < Store::kMinBlocks) {
        std::fprintf(stderr, "tessera-store: --size is too small: at least %lluK is needed\n",
                     static_cast<unsigned long long>(Store::kMinBlocks * 4));
        return 2;
    }
    Result<Image> image = Image::create(o.output, o.bytes, o.replace);
    if (!image && image.error() == Error::Exists) {
        std::fprintf(stderr, "tessera-store: %s exists; use --force to replace it\n",
                     o.output.c_str());
        return 1;
    }
    if (!image) return complain(o.output, image.error());
    bool filled = fill(*image, o, o.vnode);
    if (filled && o.also_template) filled = fill(*image, o, kTemplateRoot);
    Result<void> closed = image->close();
    if (!closed) complain("finishing " + o.output, closed.error());
    if (filled && closed) return 0;
    unlink(o.output.c_str()); // no half-made image is left behind
    return 1;
}

int list(const std::string& path_of_image, const std::string& path, VnodeId vnode, bool details) {
    Result<Image> image = Image::open(path_of_image, true);
    if (!image) return complain(path_of_image, image.error());
    Result<Attributes> at = image->find(vnode, path, !details);
    if (!at) return complain(path, at.error());
    int status = 0;
    if (at->type != FileType::Directory) {
        details ? print_details(*image, *at, path)
                : static_cast<void>(std::printf("%s\n", path.c_str()));
    } else {
        std::vector<std::pair<std::string, ObjectRef>> entries;
        image->store().readdir(
            {}, at->object, 0,
            [&](const DirectoryEntry& e) {
                entries.emplace_back(std::string(e.name), e.object);
                return true;
            },
            [](Result<bool>) {});
        std::sort(entries.begin(), entries.end());
        for (auto& [name, ref] : entries) {
            Result<Attributes> a =
                now<Attributes>([&](auto done) { image->store().getattr(ref, std::move(done)); });
            if (!a)
                status = complain(name, a.error());
            else if (details)
                print_details(*image, *a, name);
            else
                std::printf("%s\n", name.c_str());
        }
    }
    Result<void> closed = image->close();
    return closed ? status : complain(path_of_image, closed.error());
}

int print(const std::string& path_of_image, const std::string& path, VnodeId vnode) {
    Result<Image> image = Image::open(path_of_image, true);
    if (!image) return complain(path_of_image, image.error());
    Result<Attributes> file = image->find(vnode, path, true);
    if (!file) return complain(path, file.error());
    std::vector<std::byte> buffer(mib(1));
    for (uint64_t offset = 0;;) {
        Result<size_t> n = image->read(file->object, offset, buffer);
        if (!n) return complain(path, n.error());
        if (*n == 0) break;
        if (std::fwrite(buffer.data(), 1, *n, stdout) != *n)
            return complain("standard output", Error::Io);
        offset += *n;
    }
    if (std::fflush(stdout) != 0) return complain("standard output", Error::Io);
    Result<void> closed = image->close();
    return closed ? 0 : complain(path_of_image, closed.error());
}

int check(const std::string& path_of_image, bool data) {
    Result<Image> image = Image::open(path_of_image, true);
    if (!image) return complain(path_of_image, image.error());
    Result<CheckReport> report =
        now<CheckReport>([&](auto done) { image->store().check({data}, std::move(done)); });
    if (!report) return complain(path_of_image, report.error());
    for (const std::string& problem : report->problems)
        std::printf("%s\n", problem.c_str());
    using Number = unsigned long long;
    std::printf(
        "%s: %llu files, %llu directories, %llu others, %llu held without a name, %llu of %llu "
        "blocks in use, %llu verified: %s\n",
        path_of_image.c_str(), static_cast<Number>(report->files),
        static_cast<Number>(report->directories), static_cast<Number>(report->others),
        static_cast<Number>(report->orphans), static_cast<Number>(report->blocks_used),
        static_cast<Number>(report->blocks_total), static_cast<Number>(report->blocks_verified),
        report->clean() ? "clean" : "DAMAGED");
    Result<void> closed = image->close();
    if (!closed) return complain(path_of_image, closed.error());
    return report->clean() ? 0 : 1;
}

} // namespace tessera::storage::tool
