#include "net/host/fabric_link.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>

namespace tessera::net::host {

namespace {

constexpr int kSocketBuffer = 4 << 20;

Result<sockaddr_un> address_of(const std::string& path) {
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    if (path.empty()) return Fail(Error::InvalidArgument);
    if (path.size() >= sizeof a.sun_path) return Fail(Error::NameTooLong);
    std::memcpy(a.sun_path, path.c_str(), path.size() + 1);
    return a;
}

Error error_of(int e) {
    switch (e) {
        case ENOENT:
            return Error::NotFound;
        case EACCES:
        case EPERM:
            return Error::AccessDenied;
        case EADDRINUSE:
            return Error::Exists;
        default:
            return Error::Io;
    }
}

// Nobody receives on it: connecting a datagram socket to it is refused.
bool stale(const sockaddr_un& a) {
    int probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (probe < 0) return false;
    int r = connect(probe, reinterpret_cast<const sockaddr*>(&a), sizeof a);
    bool refused = r != 0 && errno == ECONNREFUSED;
    close(probe);
    return refused;
}

} // namespace

MacAddress mac_for(uint32_t ip) {
    return {0x02, 0x54, 0x45, 0x53, static_cast<uint8_t>(ip >> 8), static_cast<uint8_t>(ip)};
}

Result<Own<HostFabric>> HostFabric::open(const FabricOptions& options) {
    sockaddr_un own = TRY(address_of(options.own_socket));
    TRY(address_of(options.fabric_socket));
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return Fail(Error::TooManyFiles);
    int size = kSocketBuffer; // best effort: the kernel caps it
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    int bound = bind(fd, reinterpret_cast<sockaddr*>(&own), sizeof own);
    if (bound != 0 && errno == EADDRINUSE && stale(own)) {
        unlink(options.own_socket.c_str());
        bound = bind(fd, reinterpret_cast<sockaddr*>(&own), sizeof own);
    }
    if (bound != 0) {
        Error e = error_of(errno);
        close(fd);
        return Fail(e);
    }
    return Own<HostFabric>(new HostFabric(options, fd));
}

HostFabric::HostFabric(const FabricOptions& options, int fd)
    : options_(options), fd_(fd), buffer_(max_frame() + 64) {}

HostFabric::~HostFabric() {
    close(fd_);
    unlink(options_.own_socket.c_str());
}

Result<void> HostFabric::send(const TxFrame& frame) {
    if (frame.size() > max_frame()) return Fail(Error::TooBig);
    sockaddr_un to = TRY(address_of(options_.fabric_socket));
    iovec pieces[3];
    size_t n = 0;
    for (Bytes b : {frame.head, frame.body, frame.tail})
        if (!b.empty()) pieces[n++] = {const_cast<std::byte*>(b.data()), b.size()};
    msghdr m{};
    m.msg_name = &to;
    m.msg_namelen = sizeof to;
    m.msg_iov = pieces;
    m.msg_iovlen = n;
    ssize_t sent;
    do
        sent = sendmsg(fd_, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS))
        return Fail(Error::Full);
    // The switch is away: the frame is lost like one on a cut cable.
    if (sent < 0) lost_++;
    if (frame.hold) frame.hold->transmitted();
    return {};
}

unsigned HostFabric::poll(LinkSink& sink, unsigned budget) {
    unsigned n = 0;
    while (n < budget) {
        ssize_t got = recv(fd_, buffer_.data(), buffer_.size(), MSG_DONTWAIT | MSG_TRUNC);
        if (got < 0) {
            if (errno == EINTR) continue;
            break;
        }
        n++;
        if (static_cast<size_t>(got) > max_frame()) continue; // longer than the link allows
        sink.on_frame(Bytes(buffer_).first(static_cast<size_t>(got)));
    }
    return n;
}

} // namespace tessera::net::host
