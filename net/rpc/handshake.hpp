// The arithmetic of the handshake: HELLOs, and proofs that the other side knows the cluster key.
//
// proof = HMAC-SHA256(key, label | client address | server address | Hello of the client |
// Hello of the server | session number of the prover). Both nonces are fresh, so neither proof can
// be used again; the label keeps one side's proof from being the other's. Compared in constant
// time.
#pragma once

#include "net/rpc/rpc.hpp"
#include "net/schema/session.hpp"

namespace tessera::rpc {

enum class Side : uint8_t { Client, Server };

struct Handshake {
    roce::Ipv4 client;
    roce::Ipv4 server;
    schema::Hello client_hello;
    schema::Hello server_hello;
};

using Proof = std::array<unsigned char, 32>;

schema::Hello make_hello(const NodeOptions& options, Random& random);
Identity identity_of(const schema::Hello& hello);

// VersionMismatch (logged with both sides' numbers), Malformed, or fine.
Result<void> check_hello(const NodeOptions& ours, const schema::Hello& theirs, roce::Ipv4 from);

Proof prove(const ClusterKey& key, Side prover, const Handshake& h, uint32_t session);
bool proof_matches(const ClusterKey& key, Side prover, const Handshake& h, uint32_t session,
                   const unsigned char (&given)[32]);

} // namespace tessera::rpc
