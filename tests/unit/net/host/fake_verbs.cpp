#include "tests/unit/net/host/fake_verbs.hpp"

#include <algorithm>

namespace tessera::test {

using Kind = VerbsEvent::Kind;

FakeVerbs::~FakeVerbs() {
    fabric.devices.erase(address);
}

Result<void> FakeVerbs::open(roce::Ipv4 a) {
    if (!fabric.addresses.contains(a)) return Fail(Error::NoDevice);
    address = a;
    fabric.devices[a] = this;
    return {};
}

Result<VerbsApi::Region> FakeVerbs::create_region(VerbsHandle, MutableBytes m, uint64_t base,
                                                  roce::Access a, bool written) {
    auto* r = new Region{this, m, base, fabric.next_rkey++, a, written};
    regions.insert(r);
    return VerbsApi::Region{r, r->rkey};
}
void FakeVerbs::destroy_region(VerbsHandle h) {
    auto* r = static_cast<Region*>(h);
    regions.erase(r);
    delete r;
}

Result<VerbsHandle> FakeVerbs::create_qp(VerbsHandle, unsigned, unsigned) {
    auto* q = new Qp;
    q->of = this;
    qps.insert(q);
    return q;
}
void FakeVerbs::destroy_qp(VerbsHandle h) {
    auto* q = static_cast<Qp*>(h);
    if (q->other) q->other->other = nullptr;
    for (Id* id : ids)
        if (id->qp == q) id->qp = nullptr;
    qps.erase(q);
    delete q;
}
void FakeVerbs::break_qp(VerbsHandle h) {
    auto& q = *static_cast<Qp*>(h);
    q.broken = true;
    for (auto* queue : {&q.sends, &q.receives}) {
        for (Post& p : *queue)
            q.done.push_back({.id = p.id, .status = roce::Status::Flushed});
        queue->clear();
    }
}

Result<void> FakeVerbs::post_send(VerbsHandle h, const roce::WorkRequest& wr, uint64_t id,
                                  std::span<const VerbsPiece> pieces) {
    auto& q = *static_cast<Qp*>(h);
    q.sends.push_back({id, wr, {pieces.begin(), pieces.end()}});
    if (q.broken) break_qp(h);
    return {};
}
Result<void> FakeVerbs::post_receive(VerbsHandle h, uint64_t id, const VerbsPiece& piece) {
    static_cast<Qp*>(h)->receives.push_back({id, {}, {piece}});
    return {};
}

void FakeVerbs::run(Qp& q) {
    while (!q.sends.empty() && q.ready && !q.broken && q.other && q.other->ready) {
        Post& p = q.sends.front();
        VerbsCompletion mine{.id = p.id}, theirs;
        std::vector<std::byte> data;
        for (auto& piece : p.pieces)
            data.insert(data.end(), piece.memory.begin(), piece.memory.end());
        bool send = p.wr.op == roce::Op::Send || p.wr.op == roce::Op::SendImmediate;
        bool immediate = p.wr.op == roce::Op::SendImmediate || p.wr.op == roce::Op::WriteImmediate;
        if ((send || immediate) && q.other->receives.empty()) return; // RNR
        if (!send) {
            auto& all = q.other->of->regions;
            size_t size = data.size();
            bool read = p.wr.op == roce::Op::Read;
            auto at = std::find_if(all.begin(), all.end(), [&](Region* r) {
                auto needed = read ? roce::Access::RemoteRead : roce::Access::RemoteWrite;
                return r->rkey == p.wr.rkey.value && p.wr.remote_address >= r->base &&
                       p.wr.remote_address + size <= r->base + r->memory.size() &&
                       (static_cast<int>(r->access) & static_cast<int>(needed));
            });
            if (at == all.end()) {
                mine.status = roce::Status::RemoteAccess;
                q.done.push_back(mine);
                q.sends.pop_front();
                return break_qp(&q);
            }
            std::byte* there = (*at)->memory.data() + (p.wr.remote_address - (*at)->base);
            if (read)
                std::memcpy(p.pieces[0].memory.data(), there, size);
            else
                std::memcpy(there, data.data(), size);
        }
        if (send || immediate) {
            Post r = q.other->receives.front();
            q.other->receives.pop_front();
            theirs.id = r.id;
            theirs.kind =
                send ? VerbsCompletion::Kind::Received : VerbsCompletion::Kind::ReceivedWrite;
            theirs.length = static_cast<uint32_t>(data.size());
            if (immediate) theirs.immediate = p.wr.immediate;
            if (send) std::memcpy(r.pieces[0].memory.data(), data.data(), data.size());
            q.other->done.push_back(theirs);
        }
        q.done.push_back(mine);
        q.sends.pop_front();
    }
}

size_t FakeVerbs::poll(VerbsHandle h, std::span<VerbsCompletion> out) {
    auto& q = *static_cast<Qp*>(h);
    run(q);
    if (q.other) run(*q.other);
    size_t n = 0;
    for (; n < out.size() && !q.done.empty(); n++) {
        out[n] = q.done.front();
        q.done.pop_front();
    }
    return n;
}

void FakeVerbs::event(Kind kind, Id& id, int status, Bytes data) {
    events.push_back({.kind = kind,
                      .id = &id,
                      .status = status,
                      .peer = id.other ? id.other->of->address : roce::Ipv4(),
                      .data = {data.begin(), data.end()}});
}

Result<VerbsHandle> FakeVerbs::create_id() {
    auto* id = new Id;
    id->of = this;
    ids.insert(id);
    return id;
}
void FakeVerbs::destroy_id(VerbsHandle h) {
    auto* id = static_cast<Id*>(h);
    std::erase_if(events, [&](VerbsEvent& e) { return e.id == h; });
    if (id->other) id->other->other = nullptr;
    ids.erase(id);
    delete id;
}
Result<void> FakeVerbs::resolve_address(VerbsHandle h, roce::Ipv4 to, uint16_t service) {
    auto& id = *static_cast<Id*>(h);
    id.to = to;
    id.service = service;
    event(fabric.devices.contains(to) ? Kind::AddressResolved : Kind::Failed, id);
    return {};
}
Result<void> FakeVerbs::resolve_route(VerbsHandle h) {
    event(Kind::RouteResolved, *static_cast<Id*>(h));
    return {};
}
Result<void> FakeVerbs::connect(VerbsHandle h, VerbsHandle qp, Bytes data) {
    auto& id = *static_cast<Id*>(h);
    id.qp = static_cast<Qp*>(qp);
    FakeVerbs& there = *fabric.devices.at(id.to);
    if (there.silent) return {};
    for (Id* l : there.ids) {
        if (!l->listening || l->service != id.service) continue;
        auto* request = static_cast<Id*>(*there.create_id());
        request->other = &id;
        id.other = request;
        there.event(Kind::Request, *request, 0, data);
        there.events.back().listener = l;
        return {};
    }
    event(Kind::Rejected, id, 8);
    return {};
}
Result<void> FakeVerbs::establish(VerbsHandle h) {
    auto& id = *static_cast<Id*>(h);
    if (id.other) id.other->of->event(Kind::Established, *id.other);
    return {};
}
Result<void> FakeVerbs::listen(VerbsHandle h, uint16_t service) {
    auto& id = *static_cast<Id*>(h);
    id.listening = true;
    id.service = service;
    return {};
}
Result<void> FakeVerbs::accept(VerbsHandle h, VerbsHandle qp, Bytes data) {
    auto& id = *static_cast<Id*>(h);
    if (!id.other) return Fail(Error::Disconnected);
    id.qp = static_cast<Qp*>(qp);
    id.qp->other = id.other->qp;
    id.other->qp->other = id.qp;
    id.other->of->event(Kind::Response, *id.other, 0, data);
    return {};
}
void FakeVerbs::reject(VerbsHandle h, Bytes data) {
    auto& id = *static_cast<Id*>(h);
    if (id.other) id.other->of->event(Kind::Rejected, *id.other, 28, data);
}
void FakeVerbs::disconnect(VerbsHandle h) {
    auto& id = *static_cast<Id*>(h);
    if (id.other) id.other->of->event(Kind::Disconnected, *id.other);
}
bool FakeVerbs::next_event(VerbsEvent& out) {
    if (events.empty()) return false;
    out = std::move(events.front());
    events.pop_front();
    return true;
}

} // namespace tessera::test
