#include "net/host/verbs_port.hpp"

#include <algorithm>

#include "net/host/verbs_qp.hpp"

namespace tessera::net::host {
namespace {

constexpr size_t kMostReply = 196, kMostReason = 148; // private data of REP and REJ
constexpr size_t kMostRequests = 64;                  // that wait for an answer
constexpr int kNoListener = 8, kConsumer = 28;        // reasons of REJ (IBTA 12.6.7.2)

std::vector<std::byte> copy(Bytes b) {
    return {b.begin(), b.end()};
}

} // namespace

// A connection request; goes with its answer.
class VerbsPort::Request final : public roce::Incoming {
  public:
    Request(VerbsPort& port, VerbsEvent& e, uint16_t service, roce::Listener& listener)
        : port(port),
          id(e.id),
          service(service),
          listener(listener),
          from(e.peer),
          data(std::move(e.data)) {}

    roce::Ipv4 peer() const override { return from; }
    roce::PrivateData private_data() const override { return data; }

    Result<void> accept(roce::Qp& q, roce::PrivateData reply) override {
        auto& qp = static_cast<VerbsQp&>(q);
        if (qp.state != VerbsQp::State::Idle || reply.size() > kMostReply)
            return Fail(Error::InvalidArgument);
        TRY(port.api_->ready_qp(qp.handle, id));
        TRY(port.api_->accept(id, qp.handle, reply));
        qp.connection = id;
        qp.peer_address = from;
        qp.listener = &listener;
        qp.state = VerbsQp::State::Connected;
        id = nullptr;
        return {};
    }

    void reject(roce::PrivateData reason) override {
        if (!id) return;
        port.api_->reject(id, reason.first(std::min(reason.size(), kMostReason)));
        port.api_->destroy_id(id);
        id = nullptr;
    }

    VerbsPort& port;
    VerbsHandle id; // null once answered; freed by the next sweep
    const uint16_t service;
    roce::Listener& listener;
    const roce::Ipv4 from;
    const std::vector<std::byte> data;
};

VerbsPort::VerbsPort(roce::Ipv4 address, Clock& clock, Own<VerbsApi> api)
    : address_(address), clock_(clock), api_(std::move(api)) {}

Result<Own<VerbsPort>> VerbsPort::open(roce::Ipv4 address, Clock& clock, Own<VerbsApi> api) {
    TRY(api->open(address));
    return Own<VerbsPort>(new VerbsPort(address, clock, std::move(api)));
}

VerbsPort::~VerbsPort() {
    for (auto& r : requests_)
        r->reject({});
    sweep();
    ASSERT(qps_.empty());
    for (auto& [service, l] : listening_)
        api_->destroy_id(l.id);
    for (auto& [rkey, region] : regions_)
        api_->destroy_region(region);
    for (auto& [number, pd] : pds_)
        api_->destroy_pd(pd);
}

Result<roce::Pd> VerbsPort::create_pd() {
    VerbsHandle pd = TRY(api_->create_pd());
    pds_[++last_pd_] = pd;
    return roce::Pd(last_pd_);
}

void VerbsPort::destroy_pd(roce::Pd pd) {
    auto at = pds_.find(pd.value);
    if (at == pds_.end()) return;
    api_->destroy_pd(at->second);
    pds_.erase(at);
}

Result<roce::Qp*> VerbsPort::create_qp(const roce::QpOptions& options, roce::QpEvents& events) {
    auto pd = pds_.find(options.pd.value);
    if (pd == pds_.end() || options.send_depth == 0 || options.receive_depth == 0)
        return Fail(Error::InvalidArgument);
    VerbsHandle qp = TRY(api_->create_qp(pd->second, options.send_depth, options.receive_depth));
    qps_.push_back(std::make_unique<VerbsQp>(*this, options, events, pd->second, qp));
    return qps_.back().get();
}

void VerbsPort::destroy_qp(roce::Qp& qp) {
    static_cast<VerbsQp&>(qp).close();
    if (!polling_) sweep(); // inside poll(): somebody may be in the middle of it
}

void VerbsPort::sweep() {
    std::erase_if(qps_, [](auto& qp) { return !qp->handle; });
    std::erase_if(requests_, [](auto& r) { return !r->id; });
}

Result<void> VerbsPort::connect(roce::Qp& q, const roce::Endpoint& to, roce::PrivateData hello,
                                Nanos deadline, Function<void(Result<Bytes>), 64> done) {
    auto& qp = static_cast<VerbsQp&>(q);
    if (qp.state != VerbsQp::State::Idle || hello.size() > roce::kMaxPrivateData || !to.address)
        return Fail(Error::InvalidArgument);
    VerbsHandle id = TRY(api_->create_id());
    if (auto started = api_->resolve_address(id, to.address, to.service); !started) {
        api_->destroy_id(id);
        return started;
    }
    qp.connection = id;
    qp.peer_address = to.address;
    qp.hello = copy(hello);
    qp.deadline = deadline;
    qp.done = std::move(done);
    qp.state = VerbsQp::State::Resolving;
    return {};
}

Result<void> VerbsPort::listen(uint16_t service, roce::Listener& listener) {
    if (listening_.contains(service)) return Fail(Error::Exists);
    VerbsHandle id = TRY(api_->create_id());
    if (auto ok = api_->listen(id, service); !ok) {
        api_->destroy_id(id);
        return ok;
    }
    listening_[service] = {id, &listener};
    return {};
}

void VerbsPort::stop_listening(uint16_t service) {
    auto at = listening_.find(service);
    if (at == listening_.end()) return;
    for (auto& r : requests_)
        if (r->service == service) r->reject({});
    api_->destroy_id(at->second.id);
    listening_.erase(at);
    if (!polling_) sweep();
}

Result<roce::Rkey> VerbsPort::register_memory(roce::Pd pd, MutableBytes memory, uint64_t base,
                                              roce::Access a) {
    auto at = pds_.find(pd.value);
    uint64_t offset = (base - reinterpret_cast<uintptr_t>(memory.data())) % kPageSize;
    if (at == pds_.end() || memory.empty() || offset != 0) return Fail(Error::InvalidArgument);
    auto region = TRY(api_->create_region(at->second, memory, base, a, true));
    regions_[region.rkey] = region.handle;
    return roce::Rkey(region.rkey);
}

void VerbsPort::deregister(roce::Rkey rkey) {
    auto at = regions_.find(rkey.value);
    if (at == regions_.end()) return;
    api_->destroy_region(at->second);
    regions_.erase(at);
}

VerbsQp* VerbsPort::qp_of(VerbsHandle id) {
    for (auto& qp : qps_)
        if (qp->handle && qp->connection == id) return qp.get();
    return nullptr;
}

void VerbsPort::connected(VerbsQp& qp, Bytes reply) {
    Result<void> ok = api_->ready_qp(qp.handle, qp.connection);
    if (ok) ok = api_->establish(qp.connection);
    if (!ok) return connect_failed(qp, ok.error());
    qp.state = VerbsQp::State::Connected;
    qp.deadline = kNever;
    auto done = std::move(qp.done);
    done(reply);
}

void VerbsPort::connect_failed(VerbsQp& qp, Error why) {
    api_->destroy_id(qp.connection);
    qp.connection = nullptr;
    qp.state = VerbsQp::State::Idle;
    qp.deadline = kNever;
    auto done = std::move(qp.done);
    done(Fail(why));
}

void VerbsPort::on_request(VerbsEvent& e) {
    for (auto& [service, l] : listening_) {
        if (l.id != e.listener) continue;
        if (requests_.size() >= kMostRequests) break;
        requests_.push_back(std::make_unique<Request>(*this, e, service, *l.listener));
        return l.listener->on_incoming(*requests_.back());
    }
    api_->reject(e.id, {});
    api_->destroy_id(e.id);
}

void VerbsPort::on_event(VerbsEvent& e) {
    using Kind = VerbsEvent::Kind;
    using State = VerbsQp::State;
    if (e.kind == Kind::Request) return on_request(e);
    VerbsQp* qp = qp_of(e.id);
    if (!qp) return;
    bool connecting = qp->state == State::Resolving || qp->state == State::Connecting;
    switch (e.kind) {
        case Kind::AddressResolved:
            if (qp->state != State::Resolving) return;
            if (auto ok = api_->resolve_route(e.id); !ok) connect_failed(*qp, ok.error());
            return;
        case Kind::RouteResolved:
            if (qp->state != State::Resolving) return;
            qp->state = State::Connecting;
            if (auto ok = api_->connect(e.id, qp->handle, qp->hello); !ok)
                connect_failed(*qp, ok.error());
            return;
        case Kind::Response:
            if (qp->state == State::Connecting) connected(*qp, e.data);
            return;
        case Kind::Established:
            if (qp->state == State::Connected && qp->listener) qp->listener->on_established(*qp);
            return;
        case Kind::Rejected:
            if (!connecting) return qp->end(Error::Disconnected);
            reject_data_ = e.status == kConsumer ? Bytes(e.data) : Bytes();
            connect_failed(*qp, e.status == kNoListener ? Error::NotFound
                                : e.status == kConsumer ? Error::NotPermitted
                                                        : Error::Disconnected);
            reject_data_ = {};
            return;
        case Kind::Failed:
            if (!connecting) return qp->end(Error::Disconnected);
            return connect_failed(*qp, Error::Timeout);
        case Kind::Disconnected:
            return qp->end(Error::Disconnected);
        default:
            return;
    }
}

unsigned VerbsPort::poll() {
    ASSERT(!polling_); // not from a callback
    polling_ = true;
    unsigned handled = 0;
    for (VerbsEvent e; api_->next_event(e); e = {}) {
        on_event(e);
        handled++;
    }
    bool signalled = api_->completions_signalled();
    Nanos now = clock_.now();
    for (size_t i = 0; i < qps_.size(); i++) { // callbacks may add some
        VerbsQp& qp = *qps_[i];
        if (signalled) qp.armed = false;
        if (qp.handle && now >= qp.deadline) connect_failed(qp, Error::Timeout);
        handled += qp.poll();
    }
    polling_ = false;
    sweep();
    return handled;
}

Nanos VerbsPort::next_deadline() const {
    Nanos first = kNever;
    for (auto& qp : qps_)
        first = std::min(first, qp->deadline);
    return first;
}

} // namespace tessera::net::host
