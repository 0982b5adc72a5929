// A device in memory behind VerbsApi: enough of an RC device and its connection manager to run two
// VerbsPorts against each other, to withhold answers, and to count what was not given back.
#pragma once

#include <cstring>
#include <deque>
#include <map>
#include <set>

#include "net/host/verbs_api.hpp"

namespace tessera::test {

using net::host::VerbsApi;
using net::host::VerbsCompletion;
using net::host::VerbsEvent;
using net::host::VerbsHandle;
using net::host::VerbsPiece;

struct FakeFabric;

class FakeVerbs final : public VerbsApi {
  public:
    struct Region {
        FakeVerbs* of;
        MutableBytes memory;
        uint64_t base;
        uint32_t rkey;
        roce::Access access;
        bool written;
    };
    struct Post {
        uint64_t id;
        roce::WorkRequest wr;
        std::vector<VerbsPiece> pieces;
    };
    struct Qp {
        FakeVerbs* of = nullptr;
        Qp* other = nullptr;
        bool ready = false, broken = false;
        std::deque<Post> sends, receives;
        std::deque<VerbsCompletion> done;
    };
    struct Id {
        FakeVerbs* of = nullptr;
        Id* other = nullptr;
        Qp* qp = nullptr;
        roce::Ipv4 to;
        uint16_t service = 0;
        bool listening = false;
    };

    FakeVerbs(FakeFabric& f) : fabric(f) {}
    ~FakeVerbs() override;

    Result<void> open(roce::Ipv4 a) override;
    std::array<int, 2> descriptors() const override { return {-1, -1}; }
    Result<VerbsHandle> create_pd() override { return pds.insert(new int).first.operator*(); }
    void destroy_pd(VerbsHandle pd) override {
        pds.erase(static_cast<int*>(pd));
        delete static_cast<int*>(pd);
    }
    Result<VerbsApi::Region> create_region(VerbsHandle, MutableBytes m, uint64_t base,
                                           roce::Access a, bool written) override;
    void destroy_region(VerbsHandle r) override;
    Result<VerbsHandle> create_qp(VerbsHandle, unsigned, unsigned) override;
    void destroy_qp(VerbsHandle qp) override;
    uint32_t qp_number(VerbsHandle) override { return 17; }
    uint32_t path_mtu(VerbsHandle qp) override { return static_cast<Qp*>(qp)->ready ? 4096 : 0; }
    Result<void> ready_qp(VerbsHandle qp, VerbsHandle) override {
        static_cast<Qp*>(qp)->ready = true;
        return {};
    }
    void break_qp(VerbsHandle qp) override;
    Result<void> post_send(VerbsHandle, const roce::WorkRequest&, uint64_t,
                           std::span<const VerbsPiece>) override;
    Result<void> post_receive(VerbsHandle, uint64_t, const VerbsPiece&) override;
    size_t poll(VerbsHandle, std::span<VerbsCompletion>) override;
    void arm(VerbsHandle) override {}
    bool completions_signalled() override { return true; }
    Result<VerbsHandle> create_id() override;
    void destroy_id(VerbsHandle id) override;
    Result<void> resolve_address(VerbsHandle id, roce::Ipv4 to, uint16_t service) override;
    Result<void> resolve_route(VerbsHandle id) override;
    Result<void> connect(VerbsHandle id, VerbsHandle qp, Bytes data) override;
    Result<void> establish(VerbsHandle id) override;
    Result<void> listen(VerbsHandle id, uint16_t service) override;
    Result<void> accept(VerbsHandle id, VerbsHandle qp, Bytes data) override;
    void reject(VerbsHandle id, Bytes data) override;
    void disconnect(VerbsHandle id) override;
    bool next_event(VerbsEvent& out) override;

    void run(Qp& qp); // carries out what is posted
    void event(VerbsEvent::Kind kind, Id& id, int status = 0, Bytes data = {});

    FakeFabric& fabric;
    roce::Ipv4 address;
    bool silent = false; // connection attempts to it are not answered
    std::set<int*> pds;
    std::set<Region*> regions;
    std::set<Qp*> qps;
    std::set<Id*> ids;
    std::deque<VerbsEvent> events;
};

struct FakeFabric {
    std::map<roce::Ipv4, FakeVerbs*> devices;
    uint32_t next_rkey = 1000;
    std::set<roce::Ipv4> addresses; // that belong to a device
};

} // namespace tessera::test
