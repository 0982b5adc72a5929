// The fabric's outside: one unix datagram socket per port, a control socket, capture files, one
// loop.
//
// Port NAME of a fabric in folder DIR is the pair DIR/NAME.s (bound here) and DIR/NAME.g (bound by
// the guest or service). One datagram is one raw Ethernet frame. Sockets are addressed by path on
// every send, so either side may restart. When a peer's socket is full (net.unix.max_dgram_qlen can
// be 10) frames wait here, at most kMaxBacklog per port, and are tried again every kRetry.
//
// The control socket DIR/control is a stream: a command line in, its answer's lines out, then "ok"
// or "error: reason". At most kMaxClients at once.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/hosted.hpp"
#include "tools/fabric/control.hpp"
#include "tools/fabric/halt_poll.hpp"
#include "tools/fabric/pcap.hpp"
#include "tools/fabric/switch.hpp"

namespace tessera::fabric {

class Fabric final : private FabricOutput, private FabricHost {
  public:
    static constexpr size_t kMaxBacklog = 2048;
    static constexpr size_t kMaxClients = 16;
    static constexpr Nanos kRetry = microseconds(100);

    Fabric(std::string directory, uint64_t seed, unsigned halt_poll_threads);
    ~Fabric();
    Fabric(const Fabric&) = delete;

    // Binds the control socket. The folder exists.
    Result<void> open();
    // One control line, as if it had come over the control socket.
    Answer command(std::string_view line) { return execute(switch_, *this, line); }
    // Waits at most `wait` for something to do, and does it.
    void step(Nanos wait);

  private:
    struct Port {
        int fd = -1;
        std::string path;         // of our socket
        std::string peer;         // of theirs
        std::vector<Bytes> batch; // accepted since the last flush; not ours
        std::deque<std::vector<std::byte>> backlog;
        std::shared_ptr<PcapFile> capture;
        bool touched = false; // since the last flush
        uint64_t unreachable = 0, backlogged = 0, dropped = 0;
    };
    struct Client {
        std::string in;
        std::string out;
    };

    void transmit(PortNo port, Bytes frame) override;
    void flush() override;
    void captured(PortNo port, Bytes frame) override;
    Result<void> open_port(PortNo port, std::string_view name) override;
    void close_port(PortNo port) override;
    Result<void> capture_to(PortNo port, std::string_view path) override;

    void touch(PortNo no, Port& port);
    size_t send_some(Port& port, const std::vector<Bytes>& frames);
    void retry_backlogs();
    void receive_from(PortNo no);
    void accept_client();
    void serve_client(int fd, uint32_t events);
    void drop_client(int fd);

    HostClock clock_;
    Switch switch_;
    HaltPoll halt_poll_;
    std::string directory_;
    int epoll_ = -1;
    int control_ = -1;
    std::map<PortNo, Port> ports_;
    std::vector<PortNo> touched_;
    std::map<int, Client> clients_;
    bool backlogged_ = false;
    std::vector<std::byte> buffers_; // of one recvmmsg
};

} // namespace tessera::fabric
