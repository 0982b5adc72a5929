// VerbsPort: roce::Port over libibverbs and librdmacm, for a Linux host that has an RDMA device
// (rxe will do). The same interface as roce::SoftPort, which needs none.
//
// Where it differs: register_region is Unsupported (a device cannot be given pages that move);
// register_memory wants `base` at the same offset in a page as the memory, as the kernel does;
// rkeys are the device's own, as guessable as it makes them; RNR and retransmission are the
// device's (7 retries each, 7 meaning without end for RNR); path MTU is negotiated by the kernel's
// CM.
//
// Memory of a request is registered for as long as the request runs: right for control traffic,
// slow for data (two system calls each). Lives in one thread; callbacks come from poll() only.
#pragma once

#include <map>
#include <vector>

#include "base/clock.hpp"
#include "net/host/verbs_api.hpp"

namespace tessera::net::host {

class VerbsQp;

class VerbsPort final : public roce::Port {
  public:
    // NoDevice: no RDMA device has this address (or there is none at all). Clock outlives the port.
    static Result<Own<VerbsPort>> open(roce::Ipv4 address, Clock& clock,
                                       Own<VerbsApi> api = verbs_library());
    ~VerbsPort(); // QPs were destroyed before

    Result<roce::Pd> create_pd() override;
    void destroy_pd(roce::Pd pd) override;
    Result<roce::Qp*> create_qp(const roce::QpOptions& options, roce::QpEvents& events) override;
    void destroy_qp(roce::Qp& qp) override;
    Result<void> connect(roce::Qp& qp, const roce::Endpoint& to, roce::PrivateData hello,
                         Nanos deadline, Function<void(Result<Bytes>), 64> done) override;
    roce::PrivateData reject_data() const override { return reject_data_; }
    Result<void> listen(uint16_t service, roce::Listener& listener) override;
    void stop_listening(uint16_t service) override;
    Result<roce::Rkey> register_memory(roce::Pd pd, MutableBytes memory, uint64_t base,
                                       roce::Access a) override;
    Result<roce::Rkey> register_region(roce::Pd, uint64_t, uint64_t, roce::Access,
                                       roce::RegionBackend&) override {
        return Fail(Error::Unsupported);
    }
    void deregister(roce::Rkey rkey) override;
    unsigned poll() override;
    Nanos next_deadline() const override;
    roce::Ipv4 address() const override { return address_; }

    // For Loop::watch: readable when poll() has something to do.
    std::array<int, 2> descriptors() const { return api_->descriptors(); }

  private:
    friend class VerbsQp;
    class Request;
    struct Listening {
        VerbsHandle id;
        roce::Listener* listener;
    };

    VerbsPort(roce::Ipv4 address, Clock& clock, Own<VerbsApi> api);
    void on_event(VerbsEvent& e);
    void on_request(VerbsEvent& e);
    VerbsQp* qp_of(VerbsHandle id);
    void connected(VerbsQp& qp, Bytes reply);
    void connect_failed(VerbsQp& qp, Error why);
    void sweep();

    roce::Ipv4 address_;
    Clock& clock_;
    Own<VerbsApi> api_;
    std::map<uint32_t, VerbsHandle> pds_;
    std::map<uint32_t, VerbsHandle> regions_; // by rkey
    std::map<uint16_t, Listening> listening_;
    std::vector<Own<VerbsQp>> qps_;
    std::vector<Own<Request>> requests_; // not answered yet
    Bytes reject_data_;
    uint32_t last_pd_ = 0;
    bool polling_ = false;
};

} // namespace tessera::net::host
