// Packets. The first byte chooses: raw frames as they are; or a script of transport packets from
// the peer of a live connection, checksums right and PSNs near what is expected, so that the state
// machine is reached and not only the parser.
#include "tests/fuzz/roce_world.hpp"

using namespace tessera;
using namespace tessera::test;

namespace {

void raw(FuzzInput in) {
    RoceWorld w;
    while (in.left > 2) {
        Bytes f = in.take(in.word() % 5000);
        w.give({f.begin(), f.end()});
    }
}

void script(FuzzInput in) {
    RoceWorld w;
    // With and without a peer that offers out-of-order buffering.
    w.give_cm(w.request(in.byte() & 1 ? 0x0254530100000000ull : 0));
    auto rep = w.reply();
    if (!rep || w.qps.empty()) __builtin_trap();
    MutableBytes own(w.own); // outlives the link: see SoftPort on destroyed QPs
    for (auto op : {roce::Op::Send, roce::Op::Read, roce::Op::Write})
        (void)w.qps[0]->post_send(
            {.op = op,
             .pieces = {op == roce::Op::Read ? Bytes{} : Bytes(own)},
             .into = op == roce::Op::Read ? MutableBytes(own) : MutableBytes{},
             .rkey = roce::Rkey(5)});
    while (in.left > 0) {
        auto h = w.headers();
        h.opcode = static_cast<net::Opcode>(in.byte());
        if (!net::traits_of(h.opcode).known) h.opcode = net::Opcode::SendOnly;
        if (net::traits_of(h.opcode).datagram) continue;
        uint8_t flags = in.byte();
        h.ack_request = flags & 1;
        h.destination_qp = rep->qpn;
        bool answer = !net::traits_of(h.opcode).request;
        h.psn =
            ((answer ? 100 : rep->psn) + static_cast<uint32_t>(static_cast<int8_t>(in.byte()))) &
            net::kPsnMask;
        h.rkey = flags & 2 ? w.flat.value : flags & 4 ? w.paged.value : in.dword();
        h.remote_address = (flags & 2 ? RoceWorld::kFlat : RoceWorld::kPaged) + in.word();
        h.dma_length = flags & 8 ? in.dword() : in.word();
        h.syndrome = in.byte();
        h.msn = 1;
        size_t size = flags & 16 ? 1024 : in.word() % 1100;
        if (flags & 32) h.dma_length = static_cast<uint32_t>(size);
        bool payload = net::traits_of(h.opcode).has_payload;
        w.give(forge(h, Bytes(own).first(payload ? size : 0)));
        if (flags & 64) w.net.run_for(milliseconds(flags));
        if (w.qps.empty()) return;
    }
    w.net.run_for(milliseconds(5));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    FuzzInput in{data, size};
    if (in.byte() & 1)
        raw(in);
    else
        script(in);
    return 0;
}
