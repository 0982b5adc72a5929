// The fabric's control language: one command per line, over the control socket and in the file that
// the fabric reads at start (so a restarted fabric comes back as it was configured).
//
//   port add NAME [mac=52:54:00:00:00:01] [ip=10.77.0.1]   pins may be repeated
//   port remove NAME
//   set NAME [in|out] loss=5% dup=1% reorder=2% corrupt=100ppm delay=10ms jitter=1ms reorder-by=2ms
//   rate=10mbit clear NAME|all            perfect again: impairments, link, and for `all`
//   partitions partition A B | heal [A B] link NAME up|down pcap NAME|all FILE | pcap NAME|all off
//   show                      ports, impairments, partitions
//   stats                     "port.counter value" lines
//
// A port's name is 1..32 characters of [a-z0-9_-]. NAME "all" means every port.
#pragma once

#include <string>
#include <string_view>

#include "tools/fabric/switch.hpp"

namespace tessera::fabric {

// What the control language needs beyond the switch: sockets and files.
class FabricHost {
  public:
    // Opens or closes the sockets of a port that the switch just got or is about to lose.
    virtual Result<void> open_port(PortNo port, std::string_view name) = 0;
    virtual void close_port(PortNo port) = 0;
    // Empty path: stop.
    virtual Result<void> capture_to(PortNo port, std::string_view path) = 0;

  protected:
    ~FabricHost() = default;
};

struct Answer {
    bool ok = true;
    std::string text; // without the closing "ok" or "error: ..." line; on error, the reason
};

// Runs one line. Blank lines and lines that start with '#' succeed and do nothing.
Answer execute(Switch& fabric_switch, FabricHost& host, std::string_view line);

// Parsers shared with tess. InvalidArgument when the text is not one.
Result<net::MacAddress> parse_mac(std::string_view text);
Result<uint32_t> parse_ipv4(std::string_view text); // host order
std::string ipv4_text(uint32_t address);
std::string mac_text(const net::MacAddress& mac);

} // namespace tessera::fabric
