// Two or more rpc::Nodes on a fake network under virtual time.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "net/rpc/rpc.hpp"
#include "tests/unit/net/support/fake_port.hpp"

namespace tessera::test {

inline constexpr roce::Ipv4 kA{0x0a4d0064};
inline constexpr roce::Ipv4 kB{0x0a4d0065};
inline constexpr rpc::Opcode kTestEcho{0x7001};
inline constexpr rpc::Opcode kTestCount{0x7002};
inline constexpr rpc::Opcode kTestHold{0x7003};

inline rpc::ClusterKey key_of(int seed) {
    rpc::ClusterKey k{};
    for (size_t i = 0; i < k.size(); i++)
        k[i] = std::byte(seed + static_cast<int>(i));
    return k;
}

// One incarnation of a node: destroyed and made again = restarted.
struct TestNode {
    TestNode(FakeNetwork& net, roce::Ipv4 address, uint64_t incarnation, int key = 1,
             uint64_t build = 0, uint16_t credits = 16, rpc::NodeKind kind = rpc::NodeKind::Process)
        : random(incarnation), port(net, address) {
        rpc::NodeOptions o;
        o.key = key_of(key);
        o.self = {kind, NodeId(0), Incarnation(incarnation)};
        o.build_id = build;
        o.credits = credits;
        node = std::move(*rpc::Node::create(port, net.clock, random, o));
        EXPECT_TRUE(node->listen());
        node->handle(kTestEcho, [](const rpc::Identity&, Bytes request, rpc::Responder r) {
            r.reply(request);
        });
        node->handle(kTestCount, [this](const rpc::Identity& who, Bytes request, rpc::Responder r) {
            executed++;
            caller = who;
            order.emplace_back(text_of(request));
            std::string answer = std::to_string(executed);
            r.reply(bytes_of(std::string_view(answer)));
        });
        node->handle(kTestHold, [this](const rpc::Identity&, Bytes, rpc::Responder r) {
            executed++;
            held.push_back(std::move(r));
        });
    }
    SeededRandom random;
    FakePort port;
    int executed = 0;
    rpc::Identity caller;
    std::vector<std::string> order;
    Own<rpc::Node> node;
    std::vector<rpc::Responder> held; // goes before the node it answers through
};

struct Outcome {
    int times = 0;
    Error error{};
    std::string text;
    bool ok() const { return times == 1 && error == Error{}; }
};

class World : public ::testing::Test {
  protected:
    FakeNetwork net;

    // Lets everything happen that happens without time, then steps the clock, until `until` or
    // `for`.
    bool run(std::vector<TestNode*> nodes, const std::function<bool()>& until, Nanos longest) {
        Nanos end = net.clock.now() + longest;
        for (int rounds = 0; rounds < 1'000'000; rounds++) {
            for (int quiet = 0; quiet < 2; quiet++) {
                if (net.deliver()) quiet = 0;
                for (TestNode* n : nodes)
                    n->node->poll();
            }
            if (until()) return true;
            Nanos next = end;
            for (TestNode* n : nodes)
                next = std::min(next, n->node->next_deadline());
            if (net.clock.now() >= end) return false;
            if (next <= net.clock.now()) next = net.clock.now() + microseconds(1);
            net.clock.set(std::min(next, end));
        }
        ADD_FAILURE() << "spinning";
        return false;
    }

    void call(TestNode& from, roce::Ipv4 to, rpc::Opcode op, std::string_view text, Outcome& out,
              Nanos within = seconds(10), bool idempotent = false) {
        auto peer = from.node->peer(to);
        ASSERT_TRUE(peer.has_value());
        (*peer)->call(op, bytes_of(text), {}, {net.clock.now() + within, idempotent},
                      [&out](Result<Bytes> reply) {
                          out.times++;
                          if (reply)
                              out.text = text_of(*reply);
                          else
                              out.error = reply.error();
                      });
    }
};

} // namespace tessera::test
