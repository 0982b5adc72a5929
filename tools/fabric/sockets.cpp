#include "tools/fabric/sockets.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/log.hpp"

namespace tessera::fabric {
namespace {

constexpr size_t kBatch = 32;
constexpr size_t kBuffer =
    9216; // one byte more than kMaxFrame would do; too long shows as malformed

// epoll data: which kind of socket, and its number.
constexpr uint64_t kControlTag = 1ull << 32, kClientTag = 2ull << 32;

Result<sockaddr_un> address_of(const std::string& path) {
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    if (path.size() >= sizeof a.sun_path) return Fail(Error::NameTooLong);
    std::memcpy(a.sun_path, path.c_str(), path.size() + 1);
    return a;
}

Result<int> bound_socket(int type, const std::string& path) {
    sockaddr_un a = TRY(address_of(path));
    int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return Fail(Error::TooManyFiles);
    unlink(path.c_str()); // of an earlier run
    if (bind(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0) {
        close(fd);
        return Fail(errno == ENOENT ? Error::NotFound : Error::AccessDenied);
    }
    return fd;
}

} // namespace

Fabric::Fabric(std::string directory, uint64_t seed, unsigned halt_poll_threads)
    : switch_(clock_, *this, seed),
      halt_poll_(clock_, halt_poll_threads),
      directory_(std::move(directory)),
      buffers_(kBatch * kBuffer) {
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
}

Fabric::~Fabric() {
    for (auto& [no, port] : ports_) {
        close(port.fd);
        unlink(port.path.c_str());
    }
    for (auto& [fd, client] : clients_)
        close(fd);
    if (control_ >= 0) {
        close(control_);
        unlink((directory_ + "/control").c_str());
    }
    if (epoll_ >= 0) close(epoll_);
}

Result<void> Fabric::open() {
    if (epoll_ < 0) return Fail(Error::TooManyFiles);
    control_ = TRY(bound_socket(SOCK_STREAM, directory_ + "/control"));
    if (listen(control_, 8) != 0) return Fail(Error::Io);
    epoll_event e{EPOLLIN, {.u64 = kControlTag}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, control_, &e);
    return {};
}

Result<void> Fabric::open_port(PortNo no, std::string_view name) {
    Port port;
    port.path = directory_ + "/" + std::string(name) + ".s";
    port.peer = directory_ + "/" + std::string(name) + ".g";
    port.fd = TRY(bound_socket(SOCK_DGRAM, port.path));
    int bytes = 4 << 20;
    setsockopt(port.fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    epoll_event e{EPOLLIN, {.u64 = no}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, port.fd, &e);
    ports_[no] = std::move(port);
    return {};
}

void Fabric::close_port(PortNo no) {
    auto it = ports_.find(no);
    if (it == ports_.end()) return;
    close(it->second.fd);
    unlink(it->second.path.c_str());
    ports_.erase(it);
}

Result<void> Fabric::capture_to(PortNo no, std::string_view path) {
    Port& port = ports_.at(no);
    port.capture.reset();
    if (path.empty()) return {};
    for (auto& [other, p] : ports_) // several ports may share one file: "pcap all FILE"
        if (p.capture && p.capture->path() == path) port.capture = p.capture;
    if (!port.capture) port.capture = TRY(PcapFile::create(std::string(path)));
    return {};
}

void Fabric::captured(PortNo no, Bytes frame) {
    Port& port = ports_.at(no);
    if (!port.capture) return;
    touch(no, port);
    timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    port.capture->write(
        frame, static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec));
}

void Fabric::transmit(PortNo no, Bytes frame) {
    Port& port = ports_.at(no);
    touch(no, port);
    port.batch.push_back(frame);
}

void Fabric::touch(PortNo no, Port& port) {
    if (!port.touched) touched_.push_back(no);
    port.touched = true;
}

// Sends as many as the peer takes; a peer that is not there swallows them, as a cut cable would.
size_t Fabric::send_some(Port& port, const std::vector<Bytes>& frames) {
    auto address = address_of(port.peer);
    if (!address) return frames.size();
    size_t done = 0;
    while (done < frames.size()) {
        mmsghdr messages[kBatch] = {};
        iovec pieces[kBatch];
        size_t n = std::min(kBatch, frames.size() - done);
        for (size_t i = 0; i < n; i++) {
            Bytes f = frames[done + i];
            pieces[i] = {const_cast<std::byte*>(f.data()), f.size()};
            messages[i].msg_hdr.msg_name = &*address;
            messages[i].msg_hdr.msg_namelen = sizeof *address;
            messages[i].msg_hdr.msg_iov = &pieces[i];
            messages[i].msg_hdr.msg_iovlen = 1;
        }
        int sent = sendmmsg(port.fd, messages, static_cast<unsigned>(n), MSG_DONTWAIT);
        if (sent > 0) {
            done += static_cast<size_t>(sent);
        } else if (errno == EAGAIN || errno == ENOBUFS) {
            return done;
        } else if (errno != EINTR) {
            port.unreachable++;
            done++;
        }
    }
    return done;
}

void Fabric::flush() {
    if (!touched_.empty()) halt_poll_.on_traffic(clock_.now());
    for (PortNo no : touched_) {
        auto at = ports_.find(no);
        if (at == ports_.end()) continue; // removed meanwhile
        Port& port = at->second;
        port.touched = false;
        if (!port.batch.empty()) {
            size_t sent = port.backlog.empty() ? send_some(port, port.batch) : 0;
            for (; sent < port.batch.size(); sent++) {
                if (port.backlog.size() >= kMaxBacklog) {
                    port.dropped++;
                    continue;
                }
                port.backlog.emplace_back(port.batch[sent].begin(), port.batch[sent].end());
                port.backlogged++;
                backlogged_ = true;
            }
            port.batch.clear();
        }
        if (port.capture) port.capture->flush();
    }
    touched_.clear();
}

void Fabric::retry_backlogs() {
    backlogged_ = false;
    for (auto& [no, port] : ports_) {
        if (port.backlog.empty()) continue;
        std::vector<Bytes> frames(port.backlog.begin(), port.backlog.end());
        size_t sent = send_some(port, frames);
        port.backlog.erase(port.backlog.begin(),
                           port.backlog.begin() + static_cast<ptrdiff_t>(sent));
        if (!port.backlog.empty()) backlogged_ = true;
    }
}

void Fabric::receive_from(PortNo no) {
    auto it = ports_.find(no);
    if (it == ports_.end()) return;
    mmsghdr messages[kBatch] = {};
    iovec pieces[kBatch];
    for (size_t i = 0; i < kBatch; i++) {
        pieces[i] = {buffers_.data() + i * kBuffer, kBuffer};
        messages[i].msg_hdr.msg_iov = &pieces[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    int got = recvmmsg(it->second.fd, messages, kBatch, MSG_DONTWAIT, nullptr);
    for (int i = 0; i < got; i++)
        switch_.receive(
            no, Bytes(buffers_).subspan(static_cast<size_t>(i) * kBuffer, messages[i].msg_len));
    switch_.flush_output(); // before the buffers are used again
}

void Fabric::accept_client() {
    int fd = accept4(control_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    if (clients_.size() >= kMaxClients) {
        close(fd);
        return;
    }
    clients_[fd];
    epoll_event e{EPOLLIN, {.u64 = kClientTag | static_cast<uint32_t>(fd)}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &e);
}

void Fabric::drop_client(int fd) {
    close(fd);
    clients_.erase(fd);
}

void Fabric::serve_client(int fd, uint32_t events) {
    Client& client = clients_.at(fd);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        char chunk[4096];
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return drop_client(fd);
        if (n > 0) client.in.append(chunk, static_cast<size_t>(n));
        if (client.in.size() > 65536 || client.out.size() > (1u << 20)) return drop_client(fd);
        for (size_t end; (end = client.in.find('\n')) != std::string::npos;) {
            std::string line = client.in.substr(0, end);
            client.in.erase(0, end + 1);
            Answer a = command(line);
            if (a.ok && line.starts_with("stats"))
                for (auto& [no, port] : ports_)
                    for (auto [name, v] : {std::pair{"unreachable", port.unreachable},
                                           {"backlogged", port.backlogged},
                                           {"dropped", port.dropped}})
                        if (v)
                            a.text +=
                                switch_.name(no) + "." + name + " " + std::to_string(v) + "\n";
            client.out += a.ok ? a.text + "ok\n" : "error: " + a.text + "\n";
        }
    }
    ssize_t n =
        client.out.empty() ? 0 : send(fd, client.out.data(), client.out.size(), MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) return drop_client(fd);
    if (n > 0) client.out.erase(0, static_cast<size_t>(n));
    epoll_event e{client.out.empty() ? uint32_t{EPOLLIN} : uint32_t{EPOLLIN | EPOLLOUT},
                  {.u64 = kClientTag | static_cast<uint32_t>(fd)}};
    epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &e);
}

void Fabric::step(Nanos wait) {
    Nanos deadline = switch_.next_deadline();
    if (deadline != kNever) wait = std::min(wait, std::max(Nanos{0}, deadline - clock_.now()));
    if (backlogged_) wait = std::min(wait, kRetry);
    timespec t{wait.value / 1'000'000'000, wait.value % 1'000'000'000};
    epoll_event events[64];
    int n = epoll_pwait2(epoll_, events, 64, &t, nullptr);
    if (backlogged_) retry_backlogs();
    for (int i = 0; i < n; i++) {
        uint64_t tag = events[i].data.u64;
        if (tag == kControlTag)
            accept_client();
        else if (tag & kClientTag)
            serve_client(static_cast<int>(tag & 0xffffffffu), events[i].events);
        else
            receive_from(static_cast<PortNo>(tag));
    }
    switch_.poll();
}

} // namespace tessera::fabric
