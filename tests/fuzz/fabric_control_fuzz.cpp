// The fabric's control language and its switch: any lines, and any frames between them.
#include "tools/fabric/control.hpp"

namespace {

using namespace tessera;
using namespace tessera::fabric;

struct FakeClock final : Clock {
    Nanos time{0};
    Nanos now() override { return time; }
};

struct Nowhere final : FabricOutput, FabricHost {
    uint64_t bytes = 0;
    void transmit(PortNo, Bytes frame) override {
        for (std::byte b : frame)
            bytes += static_cast<uint64_t>(b); // touches every byte
    }
    void flush() override {}
    void captured(PortNo, Bytes) override {}
    Result<void> open_port(PortNo, std::string_view) override { return {}; }
    void close_port(PortNo) override {}
    Result<void> capture_to(PortNo, std::string_view) override { return {}; }
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    FakeClock clock;
    Nowhere nowhere;
    Switch s(clock, nowhere, 1);
    (void)execute(s, nowhere, "port add a mac=52:54:00:00:00:01 ip=10.0.0.1");
    (void)execute(s, nowhere, "port add b");
    std::string_view text(reinterpret_cast<const char*>(data), size);
    while (!text.empty()) {
        size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        clock.time += milliseconds(1);
        if (line.starts_with("<")) { // a frame from some port, its first letter says which
            PortNo port = line.size() > 1 ? static_cast<PortNo>(line[1]) % 4 : 0;
            s.receive(port, bytes_of(line.substr(std::min<size_t>(2, line.size()))));
            s.flush_output();
        } else {
            (void)execute(s, nowhere, line);
        }
        s.poll();
    }
    (void)s.statistics();
    return 0;
}
