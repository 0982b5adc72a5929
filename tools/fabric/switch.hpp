// The fabric's learning switch: pure frames in, frames out. Sockets are tools/fabric/sockets.hpp.
//
//   port A --> [pin check] --> [pipe A in] --> lookup, partition --> [pipe B out] --> port B
//
// Pinning: a port that names MACs may send from those only, and is reached at them; one that names
// IPv4 addresses may send IPv4 and ARP from those only, and nothing else. A port without pins is
// learned (at most kMaxLearned addresses). Refused frames are counted per port and reason.
//
// Frames are Ethernet without FCS, 14..kMaxFrame bytes. Single-threaded; time from the Clock.
// Frames given to FabricOutput::transmit stay valid until FabricOutput::flush, which ends every
// call below that can send.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.hpp"
#include "net/link/link.hpp"
#include "tools/fabric/impairment.hpp"

namespace tessera::fabric {

inline constexpr size_t kMaxFrame = 9018; // 9000 + Ethernet header + VLAN tag
inline constexpr size_t kMaxPorts = 256;
inline constexpr size_t kMaxLearned = 4096;

using PortNo = uint32_t;

class FabricOutput {
  public:
    virtual void transmit(PortNo port, Bytes frame) = 0;
    virtual void flush() = 0;
    // A frame on a port under capture, as it came in or goes out.
    virtual void captured(PortNo port, Bytes frame) = 0;

  protected:
    ~FabricOutput() = default;
};

struct PortOptions {
    std::vector<net::MacAddress> macs; // empty: learned
    std::vector<uint32_t> addresses;   // IPv4, host order; empty: any
};

struct PortCounters {
    uint64_t received = 0, received_bytes = 0, sent = 0, sent_bytes = 0;
    uint64_t malformed = 0, spoofed_mac = 0, spoofed_ip = 0, foreign = 0; // refused on receive
    uint64_t partitioned = 0, link_down = 0, flooded = 0;
};

enum class Direction : uint8_t { In, Out }; // into the switch, out of it

class Switch final : private PipeSink {
  public:
    Switch(Clock& clock, FabricOutput& output, uint64_t seed);

    Result<PortNo> add_port(std::string_view name, const PortOptions& options); // Exists, Full
    Result<void> remove_port(PortNo port);
    Result<PortNo> find(std::string_view name) const; // NotFound
    std::vector<PortNo> ports() const;
    const std::string& name(PortNo port) const { return ports_.at(port)->name; }

    void receive(PortNo port, Bytes frame); // from the port; flush_output() after a batch
    void poll();                            // releases what is due, and flushes
    void flush_output();
    Nanos next_deadline() const;

    void impair(PortNo port, Direction d, const Impairment& impairment);
    const Impairment& impairment(PortNo port, Direction d) const;
    void set_link(PortNo port, bool up);
    void partition(PortNo a, PortNo b, bool apart); // both ways
    void heal();                                    // every partition
    void capture(PortNo port, bool on);

    std::string statistics() const; // "port.counter value" lines, only what is not zero

  private:
    struct Port {
        std::string name;
        PortOptions options;
        PortCounters counters;
        bool up = true;
        bool captured = false;
        Pipe in, out;
        Port(std::string_view n, const PortOptions& o, PortNo no, uint64_t seed)
            : name(n), options(o), in(no * 2, seed ^ 1), out(no * 2 + 1, seed ^ 2) {}
    };

    void on_pipe_output(uint32_t tag, Bytes frame) override;
    bool admit(Port& port, Bytes frame);
    void forward(PortNo from, Bytes frame);
    void deliver(PortNo from, PortNo to, Bytes frame);
    void push(Pipe& pipe, Bytes frame);

    Clock& clock_;
    FabricOutput& output_;
    uint64_t seed_;
    std::map<PortNo, std::unique_ptr<Port>> ports_;
    PortNo next_ = 0;
    std::unordered_map<uint64_t, PortNo> stations_; // MAC -> port, pinned and learned
    size_t learned_ = 0;
    bool holding_ = false; // some pipe holds a frame, or memory of one just given out
    std::set<std::pair<PortNo, PortNo>> apart_; // smaller number first
};

} // namespace tessera::fabric
