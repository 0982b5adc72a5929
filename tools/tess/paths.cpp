#include "tools/tess/paths.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/crc.hpp"

namespace fs = std::filesystem;

namespace tessera::tess {
namespace {

// Longest name below the socket folder: a component's name (20), ".qmp" and a slash.
constexpr size_t kSocketNames = 25;

std::string reason() {
    return std::strerror(errno);
}

// 0700, ours, and not a link somebody else placed in /tmp.
Outcome<void> private_folder(const std::string& path) {
    if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
        return Trouble("cannot create " + path + ": " + reason());
    struct stat s;
    if (lstat(path.c_str(), &s) != 0) return Trouble("cannot look at " + path + ": " + reason());
    if (!S_ISDIR(s.st_mode) || s.st_uid != geteuid() || (s.st_mode & 077) != 0)
        return Trouble(path +
                       " is not a folder that only you can use; remove it or set XDG_RUNTIME_DIR");
    return {};
}

} // namespace

Outcome<Paths> paths_for(const std::string& dir) {
    std::string state = dir;
    if (state.empty()) {
        const char* base = std::getenv("XDG_STATE_HOME");
        const char* home = std::getenv("HOME");
        if (base && *base)
            state = std::string(base) + "/tess/default";
        else if (home && *home)
            state = std::string(home) + "/.local/state/tess/default";
        else
            return Trouble("neither HOME nor XDG_STATE_HOME is set; name a folder with --dir");
    }
    std::error_code e;
    fs::path absolute = fs::weakly_canonical(fs::absolute(state, e), e);
    if (e) return Trouble("cannot use " + state + ": " + e.message());
    Paths p;
    p.state = absolute.string();
    if (p.state.size() > 1 && p.state.back() == '/') p.state.pop_back();
    if (p.state.find_first_of(",\n") != std::string::npos)
        return Trouble("the folder " + p.state +
                       " has a comma or a newline in its name, which QEMU cannot take");

    // A cluster that is up says where its sockets are: the environment may have changed since
    // (sudo).
    if (std::ifstream recorded(p.state + "/sockets");
        std::getline(recorded, p.sockets) && !p.sockets.empty())
        return p;

    char hash[9];
    std::snprintf(hash, sizeof hash, "%08x", crc32(bytes_of(std::string_view(p.state))));
    const char* runtime = std::getenv("XDG_RUNTIME_DIR");
    p.sockets = runtime && *runtime && access(runtime, W_OK) == 0
                    ? std::string(runtime) + "/tess-" + hash
                    : "/tmp/tess-" + std::to_string(geteuid()) + "/" + hash;
    if (p.sockets.size() + kSocketNames > 107)
        p.sockets = "/tmp/tess-" + std::to_string(geteuid()) + "/" + hash;
    return p;
}

Outcome<void> make_folders(const Paths& p) {
    std::error_code e;
    for (const char* sub : {"", "/log", "/run"}) {
        fs::create_directories(p.state + sub, e);
        if (e) return Trouble("cannot create " + p.state + sub + ": " + e.message());
    }
    std::string parent = fs::path(p.sockets).parent_path();
    if (parent.starts_with("/tmp/"))
        if (auto r = private_folder(parent); !r) return r;
    return private_folder(p.sockets);
}

Outcome<Installation> installation() {
    std::error_code e;
    fs::path self = fs::read_symlink("/proc/self/exe", e);
    if (e) return Trouble("cannot find this program's own folder: " + e.message());
    Installation i;
    i.bin = self.parent_path();
    i.share = (self.parent_path().parent_path() / "share/tessera").string();
    return i;
}

Outcome<std::string> read_file(const std::string& path) {
    std::ifstream f(path, std::ios::binary);
    if (!f) return Trouble("cannot read " + path + ": " + reason());
    std::stringstream s;
    s << f.rdbuf();
    return s.str();
}

Outcome<void> write_file(const std::string& path, const std::string& text, unsigned mode) {
    std::string beside = path + ".new";
    int fd = open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0) return Trouble("cannot write " + beside + ": " + reason());
    fchmod(fd, mode);
    size_t done = 0;
    while (done < text.size()) {
        ssize_t n = write(fd, text.data() + done, text.size() - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            std::string why = reason();
            close(fd);
            unlink(beside.c_str());
            return Trouble("cannot write " + path + ": " + why);
        }
        done += static_cast<size_t>(n);
    }
    close(fd);
    if (rename(beside.c_str(), path.c_str()) != 0)
        return Trouble("cannot write " + path + ": " + reason());
    return {};
}

} // namespace tessera::tess
