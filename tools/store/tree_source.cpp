// Fills an image from a directory of the host: types, modes, owners, times, hard links, holes.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <vector>

#include "tools/store/commands.hpp"

namespace tessera::storage::tool {
namespace {

Attributes attributes_of(const struct stat& st) {
    Attributes a;
    switch (st.st_mode & S_IFMT) {
        case S_IFREG:
            a.type = FileType::File;
            break;
        case S_IFDIR:
            a.type = FileType::Directory;
            break;
        case S_IFLNK:
            a.type = FileType::Symlink;
            break;
        case S_IFCHR:
            a.type = FileType::CharDevice;
            break;
        case S_IFBLK:
            a.type = FileType::BlockDevice;
            break;
        case S_IFIFO:
            a.type = FileType::Fifo;
            break;
        case S_IFSOCK:
            a.type = FileType::Socket;
            break;
    }
    a.mode = st.st_mode & 07777;
    a.uid = st.st_uid;
    a.gid = st.st_gid;
    a.size = static_cast<uint64_t>(st.st_size);
    a.device = st.st_rdev;
    a.mtime = st.st_mtim.tv_sec * 1'000'000'000ll + st.st_mtim.tv_nsec;
    return a;
}

class TreeCopy {
  public:
    explicit TreeCopy(Image& image) : image_(image), buffer_(mib(1)) {}

    bool directory(ObjectRef into, int fd, const std::string& path) {
        DIR* d = fdopendir(fd);
        if (!d) {
            close(fd);
            return host_error(path);
        }
        bool good = true;
        errno = 0;
        while (good) {
            dirent* e = readdir(d);
            if (!e) break;
            std::string name = e->d_name;
            if (name == "." || name == "..") continue;
            good = entry(into, dirfd(d), name, path + "/" + name);
            errno = 0;
        }
        if (good && errno) good = host_error(path);
        closedir(d);
        return good;
    }

    bool finish(ObjectRef object, const Attributes& like, const std::string& path) {
        Result<void> r = image_.stamp(object, like);
        return r || store_error(path, r.error());
    }

  private:
    bool host_error(const std::string& path) {
        std::fprintf(stderr, "tessera-store: %s: %s\n", path.c_str(), std::strerror(errno));
        return false;
    }
    bool store_error(const std::string& path, Error e) {
        std::fprintf(stderr, "tessera-store: %s: %s%s\n", path.c_str(), describe(e).data(),
                     e == Error::NoSpace ? " in the image; make --size larger" : "");
        return false;
    }

    bool entry(ObjectRef into, int at, const std::string& name, const std::string& path) {
        struct stat st;
        if (fstatat(at, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return host_error(path);
        Attributes like = attributes_of(st);
        auto key = std::pair(st.st_dev, st.st_ino);
        if (like.type != FileType::Directory && st.st_nlink > 1) {
            if (auto known = links_.find(key); known != links_.end()) {
                Result<void> r = image_.link(known->second, into, name);
                return r || store_error(path, r.error());
            }
        }
        std::string target;
        if (like.type == FileType::Symlink) {
            target.resize(kMaxSymlink + 1);
            ssize_t n = readlinkat(at, name.c_str(), target.data(), target.size());
            if (n < 0) return host_error(path);
            target.resize(static_cast<size_t>(n));
        }
        Result<Attributes> made = image_.add(into, name, like, target);
        if (!made) return store_error(path, made.error());
        if (st.st_nlink > 1) links_[key] = made->object;
        if (like.type == FileType::Directory || like.type == FileType::File) {
            int fd = openat(at, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
            if (fd < 0) return host_error(path);
            if (like.type == FileType::Directory ? !directory(made->object, fd, path)
                                                 : !content(made->object, fd, like.size, path))
                return false;
        }
        return finish(made->object, like, path);
    }

    // Only what the host has data for is written; the rest stays a hole.
    bool content(ObjectRef file, int fd, uint64_t size, const std::string& path) {
        bool good = copy(file, fd, size, path);
        close(fd);
        return good;
    }
    bool copy(ObjectRef file, int fd, uint64_t size, const std::string& path) {
        for (uint64_t at = 0; at < size;) {
            off_t data = lseek(fd, static_cast<off_t>(at), SEEK_DATA);
            if (data < 0 && errno == ENXIO) break;
            if (data >= 0) at = static_cast<uint64_t>(data);
            ssize_t n = pread(fd, buffer_.data(), std::min<uint64_t>(buffer_.size(), size - at),
                              static_cast<off_t>(at));
            if (n < 0) return host_error(path);
            if (n == 0) break;
            Result<size_t> wrote =
                image_.write(file, at, Bytes(buffer_).first(static_cast<size_t>(n)));
            if (!wrote) return store_error(path, wrote.error());
            if (*wrote == 0) return store_error(path, Error::NoSpace);
            at += *wrote;
        }
        Result<void> sized = image_.resize(file, size);
        return sized || store_error(path, sized.error());
    }

    Image& image_;
    std::vector<std::byte> buffer_;
    std::map<std::pair<dev_t, ino_t>, ObjectRef> links_;
};

} // namespace

bool fill_from_directory(Image& image, ObjectRef root, const std::string& path) {
    int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        std::fprintf(stderr, "tessera-store: --from-dir %s: %s\n", path.c_str(),
                     std::strerror(errno));
        if (fd >= 0) close(fd);
        return false;
    }
    TreeCopy copy(image);
    return copy.directory(root, fd, path) && copy.finish(root, attributes_of(st), path);
}

} // namespace tessera::storage::tool
