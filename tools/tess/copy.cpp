// tess cp: `tess run` with a file, or a tar at this end, as its stdin or stdout.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "tools/tess/verbs.hpp"

namespace tessera::tess {
namespace {

int fail(const std::string& problem) {
    std::fprintf(stderr, "tess: %s\n", problem.c_str());
    return 1;
}
int fail_errno(const std::string& what) {
    return fail(what + ": " + std::strerror(errno));
}

bool is_remote(const std::string& s) { // NAME:PATH, unless the colon comes after a slash
    size_t colon = s.find(':');
    return colon != std::string::npos && colon > 0 && s.find('/') > colon;
}

std::string base_name(std::string s) {
    while (s.size() > 1 && s.back() == '/')
        s.pop_back();
    return s.substr(s.rfind('/') + 1);
}

bool is_folder(const std::string& path) {
    struct stat s;
    return stat(path.c_str(), &s) == 0 && S_ISDIR(s.st_mode);
}

void become(int fd, int as) {
    dup2(fd, as);
    close(fd);
}

int wait_for(pid_t pid) {
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// tar on this host, in `folder`, connected by a pipe to our descriptor `ours` (0: its archive is
// our stdin, 1: what we print is its archive). -1 with errno set if it cannot start.
pid_t begin_tar(const std::string& folder, int ours) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    pid_t pid = fork();
    if (pid < 0) return -1;
    if (pid == 0) {
        dup2(ends[ours == 0 ? 1 : 0], ours == 0 ? 1 : 0);
        if (ours == 0)
            execlp("tar", "tar", "-C", folder.c_str(), "--owner=0", "--group=0", "--numeric-owner",
                   "-cf", "-", ".", nullptr);
        else
            execlp("tar", "tar", "-C", folder.c_str(), "--no-same-owner", "-xpf", "-", nullptr);
        std::fprintf(stderr, "tess: cannot start tar: %s\n", std::strerror(errno));
        _exit(127);
    }
    become(ends[ours], ours);
    close(ends[1 - ours]);
    return pid;
}

int copy_there(const std::string& dir, const std::string& here, RunOptions run,
               const std::string& path) {
    struct stat s;
    if (stat(here.c_str(), &s) != 0) return fail_errno("cannot read " + here);
    if (!S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode))
        return fail(here + " is neither a file nor a folder");
    // $1: destination, $2: name of the source, $3: mode
    const char* into = "[ -d \"$1\" ] && set -- \"${1%/}/$2\" \"$2\" \"$3\"; ";
    std::string name = base_name(here == "." || here == ".." ? "" : here), script = into;
    if (S_ISDIR(s.st_mode))
        script += "{ [ -d \"$1\" ] || mkdir \"$1\"; } && tar -C \"$1\" -xpf -";
    else
        script += "cat >\"$1\" && chmod \"$3\" \"$1\"";
    char mode[8];
    std::snprintf(mode, sizeof mode, "%04o", s.st_mode & 07777u);
    run.arguments = {"/bin/sh", "-c", script, "tess cp", path, name, mode};
    if (!S_ISDIR(s.st_mode)) {
        int fd = open(here.c_str(), O_RDONLY | O_CLOEXEC);
        if (fd < 0) return fail_errno("cannot read " + here);
        become(fd, 0);
        return verb_run(dir, run);
    }
    pid_t tar = begin_tar(here, 0);
    if (tar < 0) return fail_errno("cannot start tar");
    int status = verb_run(dir, run);
    close(0); // or a tar whose archive nobody wants waits for ever
    int packed = wait_for(tar);
    return status ? status : packed;
}

// Each runs in a child, because each opens a session of its own. 0: a folder; 1: not; else printed.
int folder_there(const std::string& dir, RunOptions run, const std::string& path) {
    pid_t pid = fork();
    if (pid < 0) return fail_errno("cannot fork"), 125;
    if (pid > 0) return wait_for(pid);
    run.arguments = {"/bin/sh", "-c",
                     "[ -d \"$1\" ] && exit 0; [ -e \"$1\" ] && exit 1; "
                     "echo \"tess: no $1 in this vNode\" >&2; exit 2",
                     "tess cp", path};
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null >= 0) become(null, 0);
    int status = verb_run(dir, run);
    std::fflush(nullptr);
    _exit(status);
}

int copy_here(const std::string& dir, RunOptions run, const std::string& path,
              const std::string& here) {
    int kind = folder_there(dir, run, path);
    if (kind > 1) return kind;
    std::string name = base_name(path);
    std::string landing = is_folder(here) && !name.empty() && name != "." && name != "/"
                              ? (here == "/" ? "" : here) + "/" + name
                              : here;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null >= 0) become(null, 0);
    if (kind == 0) {
        if (mkdir(landing.c_str(), 0777) != 0 && errno != EEXIST)
            return fail_errno("cannot make " + landing);
        pid_t tar = begin_tar(landing, 1);
        if (tar < 0) return fail_errno("cannot start tar");
        run.arguments = {"/bin/tar", "-C", path, "-cf", "-", "."};
        int status = verb_run(dir, run);
        close(1);
        int unpacked = wait_for(tar);
        return status ? status : unpacked;
    }
    std::string fresh = landing + ".tess-new";
    int fd = open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return fail_errno("cannot write " + landing);
    become(fd, 1);
    run.arguments = {"/bin/cat", path};
    int status = verb_run(dir, run);
    if (status != 0)
        unlink(fresh.c_str());
    else if (rename(fresh.c_str(), landing.c_str()) != 0)
        return fail_errno("cannot write " + landing);
    return status;
}

} // namespace

int verb_copy(const std::string& dir, const std::string& from, const std::string& to) {
    bool there = is_remote(to);
    if (is_remote(from) == there)
        return fail(
            "one of the two must be in a vNode, such as main:/root/file; the other on this host");
    const std::string& remote = there ? to : from;
    RunOptions run;
    run.vnode = remote.substr(0, remote.find(':'));
    std::string path = remote.substr(remote.find(':') + 1);
    if (path.empty()) path = ".";
    if (path[0] == '-') path = "./" + path;
    return there ? copy_there(dir, from, run, path) : copy_here(dir, run, path, to);
}

} // namespace tessera::tess
