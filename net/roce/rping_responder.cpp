#include "net/roce/rping_responder.hpp"

#include "base/log.hpp"

namespace tessera::roce {

RpingResponder::~RpingResponder() {
    if (!pd_) return;
    port_.stop_listening(service_);
    for (Session& s : sessions_)
        if (s.qp) end(s);
    port_.destroy_pd(pd_);
}

Result<void> RpingResponder::start(uint16_t service) {
    pd_ = TRY(port_.create_pd());
    service_ = service;
    return port_.listen(service, *this);
}

RpingResponder::Session* RpingResponder::of(Qp& qp) {
    for (Session& s : sessions_)
        if (s.qp == &qp) return &s;
    return nullptr;
}

void RpingResponder::end(Session& s) {
    port_.destroy_qp(*s.qp);
    s.qp = nullptr;
    s.data.reset();
}

void RpingResponder::on_incoming(Incoming& request) {
    Session* free = nullptr;
    for (Session& s : sessions_)
        if (!s.qp || (!free && clock_.now() - s.last >= kSilent)) free = &s;
    if (free && free->qp) end(*free);
    auto qp = free
                  ? port_.create_qp({.pd = pd_, .send_depth = 8, .receive_depth = kReceives}, *this)
                  : Fail(Error::Full);
    if (!qp) return request.reject(bytes_of(std::string_view("busy")));
    *free = {};
    free->qp = *qp;
    free->last = clock_.now();
    free->data = std::make_unique<std::byte[]>(kLargest);
    Result<void> ready;
    for (size_t i = 0; i < kReceives && ready; i++)
        ready = (*qp)->post_receive(i, mutable_bytes_of(free->in[i]));
    if (ready) ready = request.accept(**qp, {});
    if (!ready) end(*free);
}

Result<void> RpingResponder::serve(Session& s, const RpingInfo& info) {
    if (info.size > kLargest) return Fail(Error::TooBig);
    WorkRequest wr{.remote_address = info.address, .rkey = Rkey(info.rkey)};
    if (!s.have_data) {
        s.size = info.size;
        wr.id = WorkId::Read;
        wr.op = Op::Read;
        wr.into = {s.data.get(), s.size};
        return s.qp->post_send(wr);
    }
    if (info.size < s.size) return Fail(Error::InvalidArgument);
    wr.id = WorkId::Write;
    wr.op = Op::Write;
    wr.pieces = {Bytes(s.data.get(), s.size)};
    TRY(s.qp->post_send(wr));
    s.have_data = false;
    pings_++;
    return s.qp->post_send({.id = WorkId::Answer, .op = Op::Send, .pieces = {bytes_of(s.out)}});
}

void RpingResponder::on_received(Qp& qp, const Received& r) {
    Session* s = of(qp);
    if (!s) return;
    s->last = clock_.now();
    RpingInfo info = s->in[r.id];
    Result<void> ok = qp.post_receive(r.id, mutable_bytes_of(s->in[r.id]));
    if (ok) ok = r.length == sizeof info ? serve(*s, info) : Fail(Error::Malformed);
    if (!ok) {
        LOG(Info, "roce", "rping: ending a session: %s", describe(ok.error()).data());
        end(*s);
    }
}

void RpingResponder::on_sent(Qp& qp, uint64_t id, Status status) {
    Session* s = of(qp);
    if (!s || status != Status::Ok || id != WorkId::Read) return;
    s->have_data = true;
    auto ok = qp.post_send({.id = WorkId::Answer, .op = Op::Send, .pieces = {bytes_of(s->out)}});
    if (!ok) end(*s);
}

void RpingResponder::on_disconnected(Qp& qp, Error) {
    if (Session* s = of(qp)) end(*s);
}

} // namespace tessera::roce
