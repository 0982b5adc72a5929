// HostFabric: a net::Link over a unix datagram socket, one datagram = one Ethernet frame: this host
// program's port on the fabric switch (architecture.md decision 2).
//
// The switch may be away or restarted at any time: sends fail as lost packets, and the same bound
// socket works again when it is back. EAGAIN (its queue is full) is Error::Full.
#pragma once

#include <string>
#include <vector>

#include "base/ref.hpp"
#include "net/link/link.hpp"

namespace tessera::net::host {

struct FabricOptions {
    std::string fabric_socket; // the switch's socket for this port
    std::string own_socket;    // ours; a stale one is replaced. At most 107 bytes.
    MacAddress mac = {};
    uint32_t mtu = 9000;
};

// 02:54:45:53 and the address's last two bytes: the default of the whole cluster.
MacAddress mac_for(uint32_t ipv4);

class HostFabric final : public Link {
  public:
    // NameTooLong, Exists (own_socket is in use by a live program), NotFound (no such folder).
    static Result<Own<HostFabric>> open(const FabricOptions& options);
    ~HostFabric();

    Result<void> send(const TxFrame& frame) override;
    void flush() override {}
    unsigned poll(LinkSink& sink, unsigned budget) override;
    MacAddress mac() const override { return options_.mac; }
    uint32_t max_frame() const override { return options_.mtu + 14; }

    int fd() const { return fd_; }          // for Loop::watch(EPOLLIN)
    uint64_t lost() const { return lost_; } // frames that the switch did not take

  private:
    HostFabric(const FabricOptions& options, int fd);

    FabricOptions options_;
    int fd_;
    uint64_t lost_ = 0;
    std::vector<std::byte> buffer_;
};

} // namespace tessera::net::host
