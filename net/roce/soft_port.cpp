#include "net/roce/soft_port.hpp"

#include "net/roce/connection_manager.hpp"

namespace tessera::roce {
namespace {

constexpr size_t kLargestMtu = 4096;

} // namespace

class SoftPort::Impl final : public net::LinkSink, public SoftPortHooks {
  public:
    Impl(net::Link& l, Clock& clock, Random& random, const SoftPortOptions& o)
        : options(o),
          link(l),
          scratch(std::make_unique<std::byte[]>(kLargestMtu)),
          out(l, o.address.value, random, counters),
          memory(o.max_regions, random),
          held(o.selective ? kHeldPerPort : 0),
          device{.clock = clock,
                 .random = random,
                 .options = options,
                 .counters = counters,
                 .out = out,
                 .memory = memory,
                 .scratch = {scratch.get(), kLargestMtu}},
          neighbours(out),
          by_number(o.max_qps),
          cm(device, neighbours, o.selective ? &held : nullptr) {}

    void on_frame(Bytes frame) override;
    void ready(SoftQp& qp) override {
        if (!qp.ready_link.linked()) ready_list.push_back(qp);
    }
    void peer_talks(SoftQp& qp) override { cm.peer_talks(qp); }

    void on_roce(const net::Ipv4Packet& ip);
    bool frame_for_us(const net::EthernetHeader& h) const {
        return h.destination == out.mac() || h.destination == net::kBroadcastMac;
    }
    void other(Bytes frame) {
        counters.not_ours++;
        if (options.other) options.other->on_frame(frame);
    }
    void run_timers(Nanos now);
    void run_ready();
    void sweep();

    const SoftPortOptions options;
    net::Link& link;
    Counters counters;
    std::unique_ptr<std::byte[]> scratch;
    Transmitter out;
    MemoryTable memory;
    HeldPool held;
    Device device;
    Neighbours neighbours;
    IdTable<SoftQp> by_number;
    QpList all;
    size_t destroyed = 0; // QPs in `all` that wait for sweep()
    ReadyList ready_list;
    ConnectionManager cm;
    uint32_t last_pd = 0;
};

void SoftPort::Impl::on_frame(Bytes frame) {
    counters.frames_in++;
    auto ethernet = net::parse_ethernet(frame);
    if (!ethernet) {
        counters.malformed++;
        return;
    }
    if (!frame_for_us(ethernet->header)) return other(frame);
    if (ethernet->header.type == net::kEtherTypeArp) {
        auto arp = net::parse_arp(*ethernet);
        if (!arp) {
            counters.malformed++;
            return;
        }
        if (arp->target_ip != out.address()) return other(frame);
        uint32_t ip = 0;
        if (neighbours.on_arp(*arp, ip)) cm.on_neighbour(ip);
        return;
    }
    if (ethernet->header.type != net::kEtherTypeIpv4) return other(frame);
    auto ip = net::parse_ipv4(*ethernet);
    if (!ip) {
        counters.malformed++;
        return;
    }
    if (ip->header.destination != out.address()) return other(frame);
    if (net::is_roce(*ip)) return on_roce(*ip);
    if (ip->header.protocol == net::kProtocolIcmp)
        neighbours.on_icmp(*ip);
    else
        other(frame);
}

void SoftPort::Impl::on_roce(const net::Ipv4Packet& ip) {
    auto p = net::parse_roce(ip);
    if (!p) {
        counters.malformed++;
        return;
    }
    SoftQp* qp = nullptr;
    if (p->destination_qp != net::kCmQp) {
        qp = by_number.find(p->destination_qp);
        if (!qp || !qp->alive() || p->traits.datagram) {
            counters.unknown_qp++;
            return;
        }
        if (!qp->from_peer(*p)) { // before anything else is looked at
            counters.wrong_peer++;
            return;
        }
    } else if (!p->traits.datagram) {
        counters.malformed++;
        return;
    }
    if (!net::icrc_valid(*p)) {
        counters.bad_icrc++;
        return;
    }
    if (qp)
        qp->on_packet(*p);
    else
        cm.on_datagram(*p);
}

void SoftPort::Impl::run_timers(Nanos now) {
    if (now < device.earliest) return;
    device.earliest = kNever; // everything that is still wanted arms it again
    for (SoftQp& qp : all)
        qp.on_timer(now);
    cm.on_timer(now);
}

void SoftPort::Impl::run_ready() {
    // Each QP once: what cannot be sent now stays on the list for the next poll.
    ReadyList now;
    while (SoftQp* qp = ready_list.pop_front())
        now.push_back(*qp);
    while (SoftQp* qp = now.pop_front())
        qp->run();
}

void SoftPort::Impl::sweep() {
    if (destroyed == 0) return;
    for (SoftQp& qp : all) {
        if (!qp.destroyed() || qp.referenced()) continue; // the link still reads its memory
        QpList::remove(qp);
        delete &qp;
        destroyed--;
    }
}

SoftPort::SoftPort(net::Link& link, Clock& clock, Random& random, const SoftPortOptions& options)
    : impl_(std::make_unique<Impl>(link, clock, random, options)) {}

SoftPort::~SoftPort() {
    while (SoftQp* qp = impl_->all.pop_front()) {
        ASSERT(qp->destroyed()); // and only waits for the link, which is going away, too
        delete qp;
    }
}

Result<Pd> SoftPort::create_pd() {
    return Pd(++impl_->last_pd);
}

void SoftPort::destroy_pd(Pd pd) {
    ASSERT(!impl_->memory.uses(pd));
}

Result<Qp*> SoftPort::create_qp(const QpOptions& options, QpEvents& events) {
    if (!options.pd || options.send_depth == 0 || options.receive_depth == 0 ||
        options.max_mtu < 256)
        return Fail(Error::InvalidArgument);
    if (impl_->by_number.full()) return Fail(Error::NoMemory);
    uint32_t number = 0; // 0 and 1 are taken by IBTA, 0xffffff is the multicast QP
    while (number < 2 || number == net::kPsnMask || impl_->by_number.find(number))
        number = static_cast<uint32_t>(impl_->device.random.next()) & net::kPsnMask;
    auto* qp = new SoftQp(impl_->device, options, number, events);
    qp->hooks = impl_.get();
    impl_->by_number.insert(number, *qp);
    impl_->all.push_back(*qp);
    return qp;
}

void SoftPort::destroy_qp(Qp& q) {
    auto& qp = static_cast<SoftQp&>(q);
    qp.destroy();
    impl_->cm.qp_destroyed(qp);
    impl_->by_number.erase(qp.number());
    if (qp.ready_link.linked()) ReadyList::remove(qp);
    impl_->destroyed++;
    if (!impl_->device.polling)
        impl_->sweep(); // inside poll(): somebody may be in the middle of it
}

Result<void> SoftPort::connect(Qp& qp, const Endpoint& to, PrivateData hello, Nanos deadline,
                               Function<void(Result<Bytes>), 64> done) {
    return impl_->cm.connect(static_cast<SoftQp&>(qp), to, hello, deadline, std::move(done));
}

Result<void> SoftPort::listen(uint16_t service, Listener& listener) {
    return impl_->cm.listen(service, listener);
}

void SoftPort::stop_listening(uint16_t service) {
    impl_->cm.stop_listening(service);
}

Result<Rkey> SoftPort::register_memory(Pd pd, MutableBytes memory, uint64_t base, Access a) {
    return impl_->memory.add(
        {.pd = pd, .base = base, .length = memory.size(), .access = a, .memory = memory.data()});
}

Result<Rkey> SoftPort::register_region(Pd pd, uint64_t base, uint64_t length, Access a,
                                       RegionBackend& backend) {
    return impl_->memory.add(
        {.pd = pd, .base = base, .length = length, .access = a, .backend = &backend});
}

void SoftPort::deregister(Rkey rkey) {
    if (!impl_->memory.remove(rkey)) return;
    for (SoftQp& qp : impl_->all)
        qp.forget_region(rkey.value);
}

unsigned SoftPort::poll() {
    Impl& i = *impl_;
    ASSERT(!i.device.polling); // not from a callback
    i.device.polling = true;
    unsigned handled = i.link.poll(i, i.options.receive_budget);
    i.run_timers(i.device.clock.now());
    i.run_ready();
    i.out.flush();
    i.sweep();
    i.device.polling = false;
    return handled;
}

bool SoftPort::pending() const {
    return !impl_->ready_list.empty();
}

Nanos SoftPort::next_deadline() const {
    // Something could not be sent, or waits behind a callback: soon, but let the link drain.
    if (!impl_->ready_list.empty()) return impl_->device.clock.now() + microseconds(50);
    return impl_->device.earliest;
}

Ipv4 SoftPort::address() const {
    return impl_->options.address;
}

Bytes SoftPort::reject_data() const {
    return impl_->cm.reject_data();
}

const Counters& SoftPort::counters() const {
    return impl_->counters;
}

} // namespace tessera::roce
