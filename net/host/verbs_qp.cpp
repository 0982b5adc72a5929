#include "net/host/verbs_qp.hpp"

namespace tessera::net::host {
namespace {

// Completions with an error do not say what they are of; the id that the device gives back does.
enum Tag : uint64_t { kSend = 0, kReceive = 1 };

MutableBytes writable(Bytes b) { // for a request that only reads from it
    return {const_cast<std::byte*>(b.data()), b.size()};
}

} // namespace

Result<VerbsQp::Posted> VerbsQp::prepare(uint64_t id, std::span<const MutableBytes> memory,
                                         bool written, std::array<VerbsPiece, 2>& pieces,
                                         size_t& count) {
    Posted p{.id = id};
    count = 0;
    for (MutableBytes m : memory) {
        if (m.empty()) continue;
        auto region = port.api_->create_region(pd, m, reinterpret_cast<uintptr_t>(m.data()),
                                               roce::Access::None, written);
        if (!region) {
            release(p);
            return Fail(region.error());
        }
        p.regions[count] = region->handle;
        pieces[count++] = {m, region->handle};
    }
    return p;
}

void VerbsQp::release(Posted& p) {
    for (VerbsHandle& r : p.regions) {
        if (r) port.api_->destroy_region(r);
        r = nullptr;
    }
}

Result<void> VerbsQp::post_send(const roce::WorkRequest& wr) {
    if (state != State::Connected) return Fail(Error::Disconnected);
    if (sends.size() >= options.send_depth) return Fail(Error::Full);
    bool read = wr.op == roce::Op::Read;
    std::array<MutableBytes, 2> memory = {read ? wr.into : writable(wr.pieces[0]),
                                          read ? MutableBytes() : writable(wr.pieces[1])};
    std::array<VerbsPiece, 2> pieces;
    size_t count = 0;
    Posted p = TRY(prepare(wr.id, memory, read, pieces, count));
    auto posted = port.api_->post_send(handle, wr, kSend, std::span(pieces).first(count));
    if (posted)
        sends.push_back(p);
    else
        release(p);
    return posted;
}

Result<void> VerbsQp::post_receive(uint64_t id, MutableBytes buffer) {
    if (state == State::Ending || state == State::Over) return Fail(Error::Disconnected);
    if (receives.size() >= options.receive_depth) return Fail(Error::Full);
    std::array<VerbsPiece, 2> pieces;
    size_t count = 0;
    Posted p = TRY(prepare(id, std::span(&buffer, 1), true, pieces, count));
    auto posted = port.api_->post_receive(handle, kReceive, pieces[0]);
    if (posted)
        receives.push_back(p);
    else
        release(p);
    return posted;
}

void VerbsQp::complete(const VerbsCompletion& c) {
    auto& queue = c.id == kReceive ? receives : sends;
    if (queue.empty()) return; // the device made it up
    Posted p = queue.front();
    queue.pop_front();
    release(p);
    if (c.status != roce::Status::Ok && c.status != roce::Status::Flushed)
        end(c.status == roce::Status::Timeout ? Error::Timeout : Error::Disconnected);
    if (c.id == kSend) return events.on_sent(*this, p.id, c.status);
    if (c.status != roce::Status::Ok) return; // the buffer goes back with on_disconnected
    bool write = c.kind == VerbsCompletion::Kind::ReceivedWrite;
    events.on_received(
        *this,
        {.id = p.id, .length = write ? 0 : c.length, .write = write, .immediate = c.immediate});
}

// Callbacks may close this QP: then `handle` is null, and the object lives until the port's sweep.
unsigned VerbsQp::poll() {
    unsigned handled = 0;
    std::array<VerbsCompletion, 32> some;
    for (bool again = true; handle && again;) {
        again = false;
        size_t n = port.api_->poll(handle, some);
        for (size_t i = 0; i < n && handle; i++)
            complete(some[i]);
        handled += static_cast<unsigned>(n);
        if (!handle) break;
        if (n == 0 && !armed) { // what came before it was armed must be looked for once more
            port.api_->arm(handle);
            armed = true;
            again = true;
        }
        again |= n > 0;
    }
    if (handle && state == State::Ending && sends.empty() && receives.empty()) {
        state = State::Over;
        events.on_disconnected(*this, why);
    }
    return handled;
}

void VerbsQp::end(Error reason) {
    if (state != State::Connected) return;
    state = State::Ending;
    why = reason;
    port.api_->break_qp(handle);
    port.api_->disconnect(connection);
}

void VerbsQp::close() {
    if (!handle) return;
    if (state == State::Connected) port.api_->disconnect(connection);
    port.api_->destroy_qp(handle);
    if (connection) port.api_->destroy_id(connection);
    handle = connection = nullptr;
    state = State::Over;
    for (auto* queue : {&sends, &receives}) {
        for (Posted& p : *queue)
            release(p);
        queue->clear();
    }
}

} // namespace tessera::net::host
