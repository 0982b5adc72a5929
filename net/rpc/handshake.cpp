#include "net/rpc/handshake.hpp"

#include <bearssl.h>

#include "base/log.hpp"
#include "net/schema/schema_hash.hpp"

namespace tessera::rpc {

schema::Hello make_hello(const NodeOptions& options, Random& random) {
    schema::Hello h{};
    h.magic = schema::kHelloMagic;
    h.protocol = schema::kRpcProtocol;
    h.kind = static_cast<unsigned char>(options.self.kind);
    h.slots = options.credits;
    h.node = options.self.node.value;
    h.schema = schema::kSchemaHash;
    h.build = options.build_id;
    h.incarnation = options.self.incarnation.value;
    random.fill(std::as_writable_bytes(std::span(h.nonce)));
    return h;
}

Identity identity_of(const schema::Hello& h) {
    return {static_cast<NodeKind>(h.kind), NodeId(h.node), Incarnation(h.incarnation)};
}

Result<void> check_hello(const NodeOptions& ours, const schema::Hello& theirs, roce::Ipv4 from) {
    if (theirs.magic != schema::kHelloMagic) return Fail(Error::Malformed);
    if (theirs.kind == 0 || theirs.kind > static_cast<unsigned char>(NodeKind::Client) ||
        theirs.incarnation == 0 || theirs.slots == 0)
        return Fail(Error::Malformed);
    bool build_differs = ours.build_id && theirs.build && ours.build_id != theirs.build;
    if (theirs.protocol != schema::kRpcProtocol || theirs.schema != schema::kSchemaHash ||
        build_differs) {
        LOG(Warning, "rpc",
            "%u.%u.%u.%u speaks another version: ours is protocol %u schema %016llx build %llx, "
            "theirs protocol %u schema %016llx build %llx; use components of one build",
            from.value >> 24, from.value >> 16 & 255, from.value >> 8 & 255, from.value & 255,
            schema::kRpcProtocol, static_cast<unsigned long long>(schema::kSchemaHash),
            static_cast<unsigned long long>(ours.build_id), theirs.protocol.get(),
            static_cast<unsigned long long>(theirs.schema.get()),
            static_cast<unsigned long long>(theirs.build.get()));
        return Fail(Error::VersionMismatch);
    }
    return {};
}

Proof prove(const ClusterKey& key, Side prover, const Handshake& h, uint32_t session) {
    br_hmac_key_context keyed;
    br_hmac_key_init(&keyed, &br_sha256_vtable, key.data(), key.size());
    br_hmac_context mac;
    br_hmac_init(&mac, &keyed, 0);
    auto add = [&](Bytes b) { br_hmac_update(&mac, b.data(), b.size()); };
    add(bytes_of(prover == Side::Client ? std::string_view("tessera rpc client")
                                        : std::string_view("tessera rpc server")));
    add(bytes_of(Le32(h.client.value)));
    add(bytes_of(Le32(h.server.value)));
    add(bytes_of(h.client_hello));
    add(bytes_of(h.server_hello));
    add(bytes_of(Le32(session)));
    Proof out;
    br_hmac_out(&mac, out.data());
    return out;
}

bool proof_matches(const ClusterKey& key, Side prover, const Handshake& h, uint32_t session,
                   const unsigned char (&given)[32]) {
    Proof expected = prove(key, prover, h, session);
    unsigned difference = 0;
    for (size_t i = 0; i < expected.size(); i++)
        difference |= expected[i] ^ given[i];
    return difference == 0;
}

} // namespace tessera::rpc
