// Fills an image from a tar archive: POSIX ustar and pax (IEEE Std 1003.1-2017, "pax"), with GNU
// long names and links. Everything in the archive is input from outside: sizes and names are
// checked.
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#include "tools/store/commands.hpp"

namespace tessera::storage::tool {
namespace {

struct TarHeader {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, linkname[100];
    char magic[6], version[2], uname[32], gname[32], major[8], minor[8], prefix[155], padding[12];
};
static_assert(sizeof(TarHeader) == 512 && offsetof(TarHeader, checksum) == 148 &&
              offsetof(TarHeader, prefix) == 345);

template <size_t N>
std::string text(const char (&field)[N]) {
    return std::string(field, strnlen(field, N));
}

// Octal, or base 256 if the first bit is set (GNU).
template <size_t N>
uint64_t number(const char (&field)[N]) {
    uint64_t v = 0;
    if (static_cast<unsigned char>(field[0]) & 0x80) {
        for (size_t i = N > 8 ? N - 8 : 1; i < N; i++)
            v = v << 8 | static_cast<unsigned char>(field[i]);
        return v;
    }
    for (char c : field)
        if (c >= '0' && c <= '7') v = v * 8 + static_cast<uint64_t>(c - '0');
    return v;
}

class TarReader {
  public:
    TarReader(Image& image, VnodeId vnode, ObjectRef root, int fd, std::string file)
        : image_(image),
          vnode_(vnode),
          root_(root),
          fd_(fd),
          file_(std::move(file)),
          buffer_(mib(1)) {}

    bool run() {
        for (;;) {
            TarHeader h;
            if (!take(&h, sizeof h))
                return fail("ends in the middle; is it complete, and not compressed?");
            if (h.name[0] == 0 && h.checksum[0] == 0) break;
            if (!sound(h))
                return fail(
                    "is not a tar archive, or a header is damaged (compressed ones: unpack first)");
            uint64_t size = number(h.size);
            if (size > kMaxFileSize) return fail("a member is too large");
            bool good = true;
            switch (h.type) {
                case 'L':
                    good = take_text(size, long_name_);
                    break;
                case 'K':
                    good = take_text(size, long_link_);
                    break;
                case 'x':
                    good = take_pax(size);
                    break;
                case 'g':
                    good = skip(padded(size));
                    break;
                default:
                    good = member(h, size);
                    clear();
            }
            if (!good) return false;
        }
        // Directories' times last: filling them changed them.
        for (auto& [object, like] : directories_)
            if (Result<void> r = image_.stamp(object, like); !r)
                return store_error("a directory", r.error());
        return true;
    }

  private:
    static uint64_t padded(uint64_t n) { return (n + 511) & ~uint64_t{511}; }
    void clear() {
        long_name_.clear();
        long_link_.clear();
        pax_.clear();
    }
    bool fail(const char* why) {
        std::fprintf(stderr, "tessera-store: %s %s\n", file_.c_str(), why);
        return false;
    }
    bool store_error(const std::string& path, Error e) {
        std::fprintf(stderr, "tessera-store: %s: %s: %s%s\n", file_.c_str(), path.c_str(),
                     describe(e).data(),
                     e == Error::NoSpace ? " in the image; make --size larger" : "");
        return false;
    }
    bool take(void* to, size_t n) {
        char* at = static_cast<char*>(to);
        while (n > 0) {
            ssize_t got = read(fd_, at, n);
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0) return false;
            at += got;
            n -= static_cast<size_t>(got);
        }
        return true;
    }
    bool skip(uint64_t n) {
        while (n > 0) {
            size_t part = std::min<uint64_t>(n, buffer_.size());
            if (!take(buffer_.data(), part)) return fail("ends in the middle");
            n -= part;
        }
        return true;
    }
    bool take_text(uint64_t size, std::string& out) {
        if (size > 65536) return fail("has an overlong name");
        out.resize(padded(size));
        if (!take(out.data(), out.size())) return fail("ends in the middle");
        out.resize(size);
        out = out.c_str(); // up to its NUL
        return true;
    }
    bool take_pax(uint64_t size) {
        if (size > 1 << 20) return fail("has an overlong extended header");
        std::string all(padded(size), 0);
        if (!take(all.data(), all.size())) return fail("ends in the middle");
        all.resize(size);
        for (size_t at = 0; at < all.size();) { // "length key=value\n"
            size_t length = std::strtoull(all.c_str() + at, nullptr, 10);
            size_t space = all.find(' ', at), equals = all.find('=', at);
            if (length == 0 || length > all.size() - at || space == std::string::npos ||
                equals == std::string::npos || equals >= at + length || space > equals)
                return fail("has a damaged extended header");
            pax_[all.substr(space + 1, equals - space - 1)] =
                all.substr(equals + 1, at + length - equals - 2);
            at += length;
        }
        return true;
    }
    static bool sound(const TarHeader& h) {
        const auto* bytes = reinterpret_cast<const unsigned char*>(&h);
        uint64_t sum = 0;
        for (size_t i = 0; i < sizeof h; i++)
            sum += i >= 148 && i < 156 ? ' ' : bytes[i];
        return sum == number(h.checksum);
    }

    bool member(const TarHeader& h, uint64_t size) {
        auto pax = [&](const char* key) { return pax_.contains(key) ? &pax_[key] : nullptr; };
        std::string name = text(h.name), link = text(h.linkname);
        if (std::memcmp(h.magic, "ustar\0", 6) == 0 && h.prefix[0])
            name = text(h.prefix) + "/" + name;
        if (!long_name_.empty()) name = long_name_;
        if (!long_link_.empty()) link = long_link_;
        if (auto* v = pax("path")) name = *v;
        if (auto* v = pax("linkpath")) link = *v;
        if (auto* v = pax("size")) size = std::strtoull(v->c_str(), nullptr, 10);
        if (size > kMaxFileSize) return fail("a member is too large");
        Attributes like;
        like.mode = number(h.mode) & 07777;
        like.uid = static_cast<uint32_t>(number(h.uid));
        like.gid = static_cast<uint32_t>(number(h.gid));
        if (auto* v = pax("uid"))
            like.uid = static_cast<uint32_t>(std::strtoul(v->c_str(), nullptr, 10));
        if (auto* v = pax("gid"))
            like.gid = static_cast<uint32_t>(std::strtoul(v->c_str(), nullptr, 10));
        int64_t seconds = static_cast<int64_t>(number(h.mtime) & 0xffffffffffull);
        if (auto* v = pax("mtime")) seconds = std::strtoll(v->c_str(), nullptr, 10);
        like.mtime = std::min<int64_t>(seconds, INT64_MAX / 2'000'000'000) * 1'000'000'000;
        switch (h.type) {
            case 0:
            case '0':
            case '7':
            case '1':
                like.type = FileType::File;
                break;
            case '2':
                like.type = FileType::Symlink;
                break;
            case '3':
                like.type = FileType::CharDevice;
                break;
            case '4':
                like.type = FileType::BlockDevice;
                break;
            case '5':
                like.type = FileType::Directory;
                break;
            case '6':
                like.type = FileType::Fifo;
                break;
            default:
                std::fprintf(
                    stderr,
                    "tessera-store: %s: %s has type '%c', which is unknown here: left out\n",
                    file_.c_str(), name.c_str(), h.type);
                return skip(padded(size));
        }
        like.device = makedev(number(h.major), number(h.minor));
        return place(h.type == '1', name, link, like, size);
    }

    bool place(bool hard_link, std::string name, const std::string& link, const Attributes& like,
               uint64_t size) {
        bool has_data = like.type == FileType::File && !hard_link;
        while (name.ends_with('/'))
            name.pop_back();
        while (name.starts_with("./") || name.starts_with('/'))
            name.erase(0, name[0] == '/' ? 1 : 2);
        if (name.empty() || name == ".") {
            if (like.type == FileType::Directory) directories_.emplace_back(root_, like);
            return skip(padded(size));
        }
        size_t cut = name.rfind('/');
        std::string last = name.substr(cut == std::string::npos ? 0 : cut + 1);
        ObjectRef parent;
        if (!make_directories(cut == std::string::npos ? "" : name.substr(0, cut), parent))
            return store_error(name, Error::NotDirectory);
        if (hard_link) {
            Result<Attributes> target = image_.find(vnode_, link, false);
            Result<void> made =
                target ? image_.link(target->object, parent, last) : Fail(target.error());
            return (made || store_error(name, made.error())) && skip(padded(size));
        }
        Result<Attributes> made = image_.add(parent, last, like, link);
        if (!made && made.error() == Error::Exists) { // a later member replaces an earlier one
            Result<Attributes> old = image_.find(vnode_, name, false);
            if (old && old->type == FileType::Directory && like.type == FileType::Directory)
                made = old;
            else if (old && old->type != FileType::Directory && image_.unlink(parent, last))
                made = image_.add(parent, last, like, link);
        }
        if (!made) return store_error(name, made.error());
        if (has_data && !content(made->object, name, size)) return false;
        if (like.type == FileType::Directory) {
            directories_.emplace_back(made->object, like);
        } else if (Result<void> r = image_.stamp(made->object, like); !r) {
            return store_error(name, r.error());
        }
        return has_data || skip(padded(size));
    }

    bool make_directories(const std::string& path, ObjectRef& out) {
        Result<Attributes> found = image_.find(vnode_, path, true);
        if (found && found->type == FileType::Directory) {
            out = found->object;
            return true;
        }
        if (found || path.empty()) return false;
        size_t cut = path.rfind('/');
        ObjectRef parent;
        if (!make_directories(cut == std::string::npos ? "" : path.substr(0, cut), parent))
            return false;
        Attributes like;
        like.type = FileType::Directory;
        like.mode = 0755;
        Result<Attributes> made =
            image_.add(parent, path.substr(cut == std::string::npos ? 0 : cut + 1), like, {});
        if (!made) return false;
        out = made->object;
        return true;
    }

    bool content(ObjectRef file, const std::string& name, uint64_t size) {
        for (uint64_t at = 0; at < size;) {
            size_t n = std::min<uint64_t>(buffer_.size(), size - at);
            if (!take(buffer_.data(), n)) return fail("ends in the middle");
            for (size_t done = 0; done < n;) {
                Result<size_t> wrote =
                    image_.write(file, at + done, Bytes(buffer_).subspan(done, n - done));
                if (!wrote || *wrote == 0)
                    return store_error(name, wrote ? Error::NoSpace : wrote.error());
                done += *wrote;
            }
            at += n;
        }
        return skip(padded(size) - size);
    }

    Image& image_;
    VnodeId vnode_;
    ObjectRef root_;
    int fd_;
    std::string file_;
    std::vector<std::byte> buffer_;
    std::string long_name_, long_link_;
    std::map<std::string, std::string> pax_;
    std::vector<std::pair<ObjectRef, Attributes>> directories_;
};

} // namespace

bool fill_from_tar(Image& image, VnodeId vnode, ObjectRef root, const std::string& file) {
    int fd = file == "-" ? dup(STDIN_FILENO) : open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        std::fprintf(stderr, "tessera-store: --from-tar %s: %s\n", file.c_str(),
                     std::strerror(errno));
        return false;
    }
    bool good = TarReader(image, vnode, root, fd, file == "-" ? "standard input" : file).run();
    close(fd);
    return good;
}

} // namespace tessera::storage::tool
